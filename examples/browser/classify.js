// A network that `espalier export --to onnx` wrote, and images for it. Takes any of the profiles.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more needs a page served with cross-origin isolation

// Opens a network of images with three channels, or one.
export async function open(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const content = new Uint8Array(await response.arrayBuffer());
  const start = performance.now();
  const session = await ort.InferenceSession.create(content);
  const opened = performance.now() - start;
  const shape = session.inputMetadata[0].shape.slice(1);
  if (shape.length !== 3 || ![1, 3].includes(shape[0]))
    throw new Error(`${url} takes ${shape.join(" × ")}, which is no image`);
  const facts = metadata(content);
  const run = async (values) => {
    const input = new ort.Tensor("float32", values, [1, ...shape]);
    const found = await session.run({ [session.inputNames[0]]: input });
    return Array.from(found[session.outputNames[0]].data, Number);
  };
  const classify = async (picture, canvas) => {
    const values = normalized(picture, canvas, shape, facts);
    const before = performance.now();
    const scores = await run(values);
    const milliseconds = performance.now() - before;
    return { classes: ranked(scores, facts.classes), milliseconds };
  };
  return { bytes: content.length, opened, shape, facts, run, classify };
}

// Draws an image in the network's size and returns its pixels as (x / 255 - mean) / std, by channel.
function normalized(picture, canvas, [channels, height, width], { mean, std }) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height); // red, green, blue, opacity
  const size = width * height;
  const values = new Float32Array(channels * size);
  for (let channel = 0; channel < channels; channel++)
    for (let i = 0; i < size; i++) {
      const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
      const level = channels === 3 ? data[4 * i + channel] : 0.299 * red + 0.587 * green + 0.114 * blue;
      values[channel * size + i] = (level / 255 - (mean[channel] ?? 0)) / (std[channel] ?? 1);
    }
  return values;
}

// Names classes by their share, largest first. Scores may be logits or shares already.
function ranked(scores, classes) {
  if (scores.length === 1) return [{ name: classes[scores[0]] ?? `class ${scores[0]}`, share: 1 }];
  const total = scores.reduce((sum, score) => sum + score, 0);
  const shares = scores.every((score) => score >= 0) && Math.abs(total - 1) < 1e-3;
  const largest = Math.max(...scores);
  const powers = shares ? scores : scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers
    .map((power, i) => ({ name: classes[i] ?? `class ${i}`, share: power / sum }))
    .sort((a, b) => b.share - a.share);
}

// The file's metadata: field 14 of ModelProto, pairs of text; the rest is skipped unread.
function metadata(content) {
  const found = { mean: [], std: [], classes: [] };
  for (const [field, value] of fields(content)) {
    if (field !== 14) continue;
    const [key, text] = [...fields(value)].map(([, part]) => new TextDecoder().decode(part));
    found[key] = JSON.parse(text);
  }
  return found;
}

// Walks one message of protobuf: yields [number, content] of what has a length, [number, n] of numbers.
function* fields(message) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      value += (byte % 128) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = number();
    const kind = tag % 8;
    if (kind === 0) {
      yield [Math.floor(tag / 8), number()];
    } else if (kind === 2) {
      const length = number();
      yield [Math.floor(tag / 8), message.subarray(at, (at += length))];
    } else {
      throw new Error("this is no ONNX file");
    }
  }
}
