// Detects with a file of `rtmdet export --format onnx` by onnxruntime-web, which the page has loaded as `ort`.

const PADDING = 114;
const SCORE = 0.3; // for files without tuned thresholds
const IOU = 0.65; // of NMS, for files that do not say it
const MOST = 100;
const ONE = 2048; // a whole pixel as a weight

/** A session and the facts that the file holds: classes, input_size [H, W], score_thresholds, nms, ... */
export async function openNetwork(buffer) {
  ort.env.wasm.numThreads = 1; // several need headers that plain file servers do not send
  const facts = readMetadata(new Uint8Array(buffer));
  if (!facts.classes) throw new Error("expected a file of rtmdet export, found one without class names");
  return { facts, session: await ort.InferenceSession.create(buffer) };
}

/** The objects in an ImageBitmap, best first: [{name, score, box: [x1, y1, x2, y2] in its pixels}]. */
export async function detect({ facts, session }, image) {
  const [height, width] = facts.input_size;
  const { pixels, scale } = letterbox(image, width, height);
  const batch = facts.fixed_batch ?? 1;
  const images = new Uint8Array(batch * pixels.length);
  images.set(pixels);
  const outputs = await session.run({ images: new ort.Tensor("uint8", images, [batch, 3, height, width]) });
  const least = (label) => facts.score_thresholds[label] ?? SCORE;
  const found = (facts.nms ? readDetections(outputs) : readAll(outputs, facts.classes.length))
    .filter(({ label, score }) => score >= least(label) / 2) // those under the threshold vote
    .map((one) => ({ ...one, box: one.box.map((side, i) => clamp(side, i % 2 ? height : width) / scale[i % 2]) }))
    .filter(({ box }) => box[2] > box[0] && box[3] > box[1])
    .sort((a, b) => b.score - a.score);
  return suppress(found, ({ label, score }) => score >= least(label), facts.iou_threshold ?? IOU, facts.box_voting)
    .slice(0, MOST)
    .map(({ label, score, box }) => ({
      name: facts.classes[label],
      score,
      box: box.map((side, i) => clamp(side, i % 2 ? image.height : image.width)),
    }));
}

/** The photo with its boxes and names. */
export function draw(canvas, image, found) {
  Object.assign(canvas, { width: image.width, height: image.height });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const unit = Math.max(image.width, image.height) / 500;
  context.font = `${8 * unit}px system-ui, sans-serif`;
  for (const { name, score, box: [x1, y1, x2, y2] } of found) {
    const text = `${name} ${score.toFixed(2)}`;
    context.strokeStyle = context.fillStyle = "#f2247b";
    context.lineWidth = unit;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.fillRect(x1, y1 - 10 * unit, context.measureText(text).width + 4 * unit, 10 * unit);
    context.fillStyle = "white";
    context.fillText(text, x1 + 2 * unit, y1 - 2 * unit);
  }
}

/** The photo at the top left of a gray input: planes of red, green, blue, and the scale of x and y. */
function letterbox(image, width, height) {
  const factor = Math.min(height / image.height, width / image.width);
  const [w, h] = [image.width, image.height].map((side) => Math.max(Math.floor(side * factor + 0.5), 1));
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").drawImage(image, 0, 0);
  const { data } = canvas.getContext("2d").getImageData(0, 0, image.width, image.height);
  const pixels = new Uint8Array(3 * width * height).fill(PADDING);
  // Not by drawImage: it averages when it shrinks, and the network learned from pixels that are only interpolated.
  // In integers, as OpenCV does it.
  const [columns, rows] = [between(w, image.width), between(h, image.height)];
  for (let y = 0; y < h; y++) {
    const { first: top, second: bottom, weight: down } = rows[y];
    for (let x = 0; x < w; x++) {
      const { first: left, second: right, weight: along } = columns[x];
      for (let c = 0; c < 3; c++) {
        const at = (row, column) => data[4 * (row * image.width + column) + c];
        const upper = at(top, left) * (ONE - along) + at(top, right) * along;
        const lower = at(bottom, left) * (ONE - along) + at(bottom, right) * along;
        const value = (((upper >> 4) * (ONE - down)) >> 16) + (((lower >> 4) * down) >> 16);
        pixels[(c * height + y) * width + x] = (value + 2) >> 2;
      }
    }
  }
  return { pixels, scale: [w / image.width, h / image.height] };
}

/** For each of `count` pixels the two of `length` that it lies between, and the share of the second in 0 .. ONE. */
function between(count, length) {
  return Array.from({ length: count }, (_, place) => {
    const position = Math.fround(((place + 0.5) * length) / count - 0.5);
    const first = Math.floor(position);
    const [one, other] = [first, first + 1].map((pixel) => clamp(pixel, length - 1));
    return { first: one, second: other, weight: roundHalfToEven((position - first) * ONE) };
  });
}

/** As OpenCV rounds; Math.round rounds halves up. Numbers from 2 ** 23 on have no halves in 32-bit floats. */
function roundHalfToEven(value) {
  return Math.fround(value + 2 ** 23) - 2 ** 23;
}

/** Of a file without NMS: boxes (B, P, 4) in input pixels and scores (B, P, K), those of the first image. */
function readAll({ boxes, scores }, classes) {
  const found = [];
  for (let place = 0; place < boxes.dims[1] * classes; place++) {
    const prior = Math.floor(place / classes);
    if (scores.data[place] < 0.001) continue;
    const box = Array.from(boxes.data.subarray(4 * prior, 4 * prior + 4));
    found.push({ label: place % classes, score: scores.data[place], box });
  }
  return found;
}

/** Of a file with NMS: image (N,), boxes (N, 4), scores (N,) and labels (N,), those of the first image. */
function readDetections({ image, boxes, scores, labels }) {
  return Array.from(image.data, Number)
    .map((index, place) => ({
      index,
      label: Number(labels.data[place]),
      score: scores.data[place],
      box: Array.from(boxes.data.subarray(4 * place, 4 * place + 4)),
    }))
    .filter(({ index }) => index === 0);
}

/** The sure ones without those that overlap a better one of their class; `found` lies by falling score. With `voting`,
 *  those of its class move a box to their mean, weighted by what they have beyond the threshold and half of its score. */
function suppress(found, sure, threshold, voting) {
  const kept = [];
  for (const one of found.filter(sure)) {
    if (!kept.some((other) => other.label === one.label && iou(other.box, one.box) > threshold)) kept.push(one);
  }
  return voting && threshold < 1 ? kept.map((one) => ({ ...one, box: meanOfVoters(one, found, threshold) })) : kept;
}

function meanOfVoters(one, found, threshold) {
  const mean = [0, 0, 0, 0];
  let sum = 0;
  for (const { label, score, box } of found) {
    if (label !== one.label || score <= one.score / 2) continue;
    const weight = Math.max(iou(box, one.box) - threshold, 0) * (score - one.score / 2);
    sum += weight;
    box.forEach((side, i) => (mean[i] += weight * side));
  }
  return mean.map((side) => side / sum);
}

function iou(a, b) {
  const area = ([x1, y1, x2, y2]) => Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0);
  const overlap = area([...[0, 1].map((i) => Math.max(a[i], b[i])), ...[2, 3].map((i) => Math.min(a[i], b[i]))]);
  return overlap / (area(a) + area(b) - overlap);
}

function clamp(value, most) {
  return Math.min(Math.max(value, 0), most);
}

/** The metadata of an ONNX file. onnxruntime-web does not give it, so it is read from the file's outermost fields:
 *  number 14 of ModelProto, each one a key (1) and a value (2), which is JSON. */
function readMetadata(bytes) {
  const text = new TextDecoder();
  const facts = {};
  for (const [number, entry] of fields(bytes)) {
    if (number !== 14) continue;
    const pair = Object.fromEntries(fields(entry));
    facts[text.decode(pair[1])] = JSON.parse(text.decode(pair[2]));
  }
  return facts;
}

/** The fields of a protocol buffer: [number, bytes]; numbers in them are skipped. */
function* fields(bytes) {
  let place = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[place++];
      if (byte === undefined) throw new Error("expected an ONNX file, found another or a part of one");
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (place < bytes.length) {
    const tag = varint();
    const kind = tag & 7;
    if (kind === 0) varint();
    else if (kind === 2) {
      const length = varint();
      yield [tag >> 3, bytes.subarray(place, (place += length))];
    } else place += kind === 1 ? 8 : 4;
  }
}
