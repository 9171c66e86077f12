// For nginx's njs module: refuses JSON that is nested too deeply, before TensorFlow Serving reads it.
// That reads JSON by recursion, and tens of thousands of brackets in each other end its process, with every model on it.

// Inputs of this project are nested 7 deep at most: object, inputs, task, example, height, width, channel.
const DEEPEST = 64;
const QUOTE = 34, BACKSLASH = 92;
const OPENING = [91, 123], CLOSING = [93, 125];

// Whether brackets outside of strings stand more than `limit` deep in each other.
function isDeeper(bytes, limit) {
    let depth = 0, inString = false;
    for (let at = 0; at < bytes.length; at++) {
        const byte = bytes[at];
        if (inString) {
            if (byte === BACKSLASH) {
                at++;
            } else if (byte === QUOTE) {
                inString = false;
            }
        } else if (byte === QUOTE) {
            inString = true;
        } else if (byte === OPENING[0] || byte === OPENING[1]) {
            if (++depth > limit) {
                return true;
            }
        } else if (byte === CLOSING[0] || byte === CLOSING[1]) {
            depth--;
        }
    }
    return false;
}

function refuse(request, status, message) {
    request.headersOut["Content-Type"] = "application/json";
    request.return(status, JSON.stringify({error: message}) + "\n");
}

function check(request) {
    const body = request.requestBuffer;
    if (request.headersIn["Content-Encoding"]) {
        refuse(request, 415, "send the body without Content-Encoding: what is packed cannot be checked.");
    } else if (body === undefined) {
        refuse(request, 400, "the body is empty.");
    } else if (isDeeper(body, DEEPEST)) {
        refuse(request, 400, `JSON may be nested ${DEEPEST} deep, received more.`);
    } else {
        request.internalRedirect("@engine");
    }
}

export default {check, isDeeper};
