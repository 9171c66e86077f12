// Of several requests for the same thing, only the last one matters.

const DELAY = 150;

/** Runs a task after a short rest; a newer call cancels the older one, waiting or under way. */
export class Latest {
  #timer = 0;
  #controller = new AbortController();

  /**
   * @param {(signal: AbortSignal) => Promise<void>} task what to do; after the signal its answer must not be shown.
   * @param {(error: Error) => void} failed told what the task raised, unless a newer call had overtaken it.
   */
  constructor(task, failed) {
    this.task = task;
    this.failed = failed;
  }

  /** Asks for the task; returns at once. */
  request() {
    this.cancel();
    const { signal } = (this.#controller = new AbortController());
    this.#timer = setTimeout(async () => {
      try {
        await this.task(signal);
      } catch (error) {
        if (!signal.aborted) this.failed(error);
      }
    }, DELAY);
  }

  /** Nothing that was asked for will be shown. */
  cancel() {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }
}
