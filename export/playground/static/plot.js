// A plot of points and curves, as SVG.

const NAMESPACE = "http://www.w3.org/2000/svg";
const SIZE = { width: 400, height: 300 };
const MARGIN = { left: 34, right: 10, top: 10, bottom: 26 };
const TICKS = 4;

export class Plot extends EventTarget {
  /**
   * Tells `point` with `detail` [x, y] when somebody points at a place.
   * @param {SVGSVGElement} svg
   * @param {{x: number[], y: number[]}} ranges smallest and largest value of each axis.
   */
  constructor(svg, ranges) {
    super();
    this.svg = svg;
    svg.setAttribute("viewBox", `0 0 ${SIZE.width} ${SIZE.height}`);
    [this.axes, this.curves, this.dots] = ["axes", "curves", "dots"].map((name) => {
      const group = shape("g", { class: name });
      svg.append(group);
      return group;
    });
    svg.addEventListener("pointerdown", (event) => this.#pointed(event));
    this.setRanges(ranges);
  }

  /** Draws the axes anew; points and curves have to be shown again. */
  setRanges(ranges) {
    this.ranges = ranges;
    const marks = [];
    for (let tick = 0; tick <= TICKS; tick++) {
      const [x, y] = ["x", "y"].map((axis) => between(ranges[axis], tick / TICKS));
      const [left, top] = this.#place([x, y]);
      marks.push(
        shape("line", { x1: left, x2: left, y1: MARGIN.top, y2: SIZE.height - MARGIN.bottom }),
        shape("line", { y1: top, y2: top, x1: MARGIN.left, x2: SIZE.width - MARGIN.right }),
        shape("text", { x: left, y: SIZE.height - 8, "text-anchor": "middle" }, short(x)),
        shape("text", { x: MARGIN.left - 5, y: top + 4, "text-anchor": "end" }, short(y)),
      );
    }
    this.axes.replaceChildren(...marks);
  }

  /** @param {number[][]} points pairs [x, y]. */
  showPoints(points) {
    this.dots.replaceChildren(
      ...points.map((point) => {
        const [left, top] = this.#place(point);
        return shape("circle", { cx: left, cy: top, r: 5 });
      }),
    );
  }

  /** @param {Object<string, number[][]>} curves points by the name of the class that the style sheet knows. */
  showCurves(curves) {
    this.curves.replaceChildren(
      ...Object.entries(curves).map(([name, points]) =>
        shape("polyline", { class: name, points: points.map((point) => this.#place(point).join(",")).join(" ") }),
      ),
    );
  }

  #pointed(event) {
    if (event.button !== 0) return;
    const box = this.svg.getBoundingClientRect();
    const left = ((event.clientX - box.left) / box.width) * SIZE.width;
    const top = ((event.clientY - box.top) / box.height) * SIZE.height;
    const x = (left - MARGIN.left) / (SIZE.width - MARGIN.left - MARGIN.right);
    const y = (SIZE.height - MARGIN.bottom - top) / (SIZE.height - MARGIN.top - MARGIN.bottom);
    if (x < 0 || x > 1 || y < 0 || y > 1) return;
    this.dispatchEvent(new CustomEvent("point", { detail: [between(this.ranges.x, x), between(this.ranges.y, y)] }));
  }

  #place([x, y]) {
    const across = share(this.ranges.x, x);
    // A curve that leaves the plot must not be drawn across the page.
    const up = Math.min(1.05, Math.max(-0.05, share(this.ranges.y, y)));
    return [
      MARGIN.left + across * (SIZE.width - MARGIN.left - MARGIN.right),
      SIZE.height - MARGIN.bottom - up * (SIZE.height - MARGIN.top - MARGIN.bottom),
    ];
  }
}

function shape(tag, attributes, text = "") {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

function between([low, high], part) {
  return low + part * (high - low);
}

function share([low, high], value) {
  return (value - low) / (high - low);
}

function short(value) {
  return String(Number(value.toFixed(2)));
}
