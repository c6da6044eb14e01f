// Boxes over a picture: which are shown, which are right, and how they are drawn.

const MATCH_IOU = 0.5;
const LETTERS = 11; // pixels on the screen

// What the controls say: shared by all pictures.
const filter = { confidence: 0.25, hidden: new Set(), labels: true };

const area = ([, , w, h]) => w * h;

function overlap(a, b) {
  const w = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  return w > 0 && h > 0 ? w * h : 0;
}

const iou = (a, b) => overlap(a, b) / (area(a) + area(b) - overlap(a, b) || 1);

// The boxes of ground truth and of detections that the controls let through, with what each is: "right", "wrong" or,
// within a crowd, "ignored"; and the ground truth that was missed. Matched as COCO does at IoU 0.50: best score first,
// each with the best free box of its class.
function judged(image, model) {
  const truth = image.truth.filter((box) => !filter.hidden.has(box.class));
  const found = (entry(image.detections, model.name) ?? [])
    .filter((box) => box.score >= filter.confidence && !filter.hidden.has(box.class))
    .sort((a, b) => b.score - a.score);
  const free = new Set(truth.filter((box) => !box.crowd));
  const boxes = found.map((box) => ({ ...box, kind: kindOf(box, free, truth) }));
  return { boxes, missed: [...free] };
}

function kindOf(box, free, truth) {
  const best = [...free]
    .filter((other) => other.class === box.class && iou(box.box, other.box) >= MATCH_IOU)
    .sort((a, b) => iou(box.box, b.box) - iou(box.box, a.box))[0];
  if (best) {
    free.delete(best);
    return "right";
  }
  const crowds = truth.filter((other) => other.crowd && other.class === box.class);
  return crowds.some((crowd) => overlap(box.box, crowd.box) >= MATCH_IOU * area(box.box)) ? "ignored" : "wrong";
}

// The boxes of a panel: of ground truth where `model` is null.
function panelBoxes(image, model) {
  if (!model) {
    const boxes = image.truth.filter((box) => !filter.hidden.has(box.class));
    return boxes.map((box) => ({ ...box, kind: box.crowd ? "crowd" : "truth" }));
  }
  const { boxes, missed } = judged(image, model);
  return [...missed.map((box) => ({ ...box, kind: "missed" })), ...boxes.reverse()]; // the surest on top
}

function panelCounts(boxes, model) {
  const count = (kind) => boxes.filter((box) => box.kind === kind).length;
  if (!model)
    return counted(count("truth"), "object") + (count("crowd") ? `, ${counted(count("crowd"), "crowd")}` : "");
  return `${count("right")} right, ${count("wrong")} wrong, ${count("missed")} missed`;
}

// Draw `boxes` into the SVG element over a picture that is `shownWidth` pixels wide on the screen. A label that would
// cover another is left out, that of the lesser score; a box's tooltip says the same.
function drawBoxes(layer, image, boxes, shownWidth) {
  if (!shownWidth) return; // not laid out: drawn when it is
  const scale = image.width / shownWidth; // pixels of the image in one of the screen
  const taken = [];
  const tags = [...boxes]
    .reverse()
    .map((box) => (filter.labels && box.kind !== "missed" ? tag(box, image, scale, taken) : null));
  layer.replaceChildren(...boxes.map(outline), ...tags.filter(Boolean));
}

function outline(box) {
  const [x, y, width, height] = box.box;
  const data = { class: `box ${box.kind}`, "data-class": box.class, "data-score": box.score ?? null };
  const [halo, edge] = ["halo", "edge"].map((part) => svg("rect", { x, y, width, height, class: part }));
  edge.setAttribute("stroke", DATA.classColours[box.class][0]);
  return svg("g", data, svg("title", null, boxText(box, Infinity)), halo, edge);
}

function boxText({ class: index, kind, score }, length) {
  const words = { crowd: " (crowd)", missed: " (missed)", ignored: " (in a crowd)" };
  const number = absent(score) ? "" : ` ${fixed(score, 2)}`;
  return `${kind === "wrong" ? "✕ " : ""}${clipped(classNames[index], length)}${number}${words[kind] ?? ""}`;
}

const ruler = document.createElement("canvas").getContext("2d");

function tag(box, image, scale, taken) {
  const text = boxText(box, image.width / scale < 340 ? 12 : 28);
  ruler.font = `600 ${LETTERS}px ${colour("sans")}`;
  const width = (ruler.measureText(text).width + 6) * scale;
  const height = (LETTERS + 4) * scale;
  const [left, top] = box.box;
  const x = Math.max(0, Math.min(left - scale, image.width - width));
  const y = top - height < 0 ? Math.max(0, top) : top - height;
  if (taken.some((other) => overlap(other, [x, y, width, height]))) return null;
  taken.push([x, y, width, height]);
  const [hue, ink] = DATA.classColours[box.class];
  const letters = { x: x + 3 * scale, y: y + (LETTERS + 0.5) * scale, "font-size": LETTERS * scale, fill: ink };
  return svg("g", { class: "tag" }, svg("rect", { x, y, width, height, fill: hue }), svg("text", letters, text));
}
