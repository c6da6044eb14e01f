// The images on which the models differ most: ground truth and each model side by side.

const FIRST_CARDS = 8;
const addresses = new Map(); // of the pictures, by their place in the gallery

// The address of a picture, decoded when it is first shown.
function address(index) {
  if (!addresses.has(index)) {
    const bytes = Uint8Array.from(atob(gallery[index].jpeg), (letter) => letter.charCodeAt(0));
    addresses.set(index, URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })));
  }
  return addresses.get(index);
}

function showGallery() {
  if (!gallery.length) {
    byId("gallery-lead").textContent = challengers.length
      ? `There is no image on which a model differs from ${baseline.name}: detections count from a score of 0.25.`
      : "There is one model, so there is nothing to compare it with.";
    return;
  }
  byId("gallery-lead").textContent =
    `The ${counted(gallery.length, "image")} that gained or lost most against ${baseline.name}, the greatest ` +
    `difference first${seeds > 1 ? ", by the first run of each model" : ""}. Press an image to enlarge it.`;
  byId("box-legend").append(...boxLegend());
  showControls(byId("controls"), () => requestAnimationFrame(updatePanels));
  const cards = gallery.map((image, index) => card(image, index));
  byId("cards").append(...cards.slice(0, FIRST_CARDS));
  if (cards.length > FIRST_CARDS) {
    const more = html(
      "button",
      {
        type: "button",
        id: "all-images",
        click: () => {
          more.replaceWith(...cards.slice(FIRST_CARDS));
          cards[FIRST_CARDS].querySelector("button").focus();
        },
      },
      `Show all ${gallery.length} images`,
    );
    byId("cards").append(more);
  }
  addEventListener("beforeprint", () => document.querySelectorAll("#cards .panel").forEach((node) => node.update()));
}

function boxLegend() {
  const sample = (kind, text) => {
    const frame = { x: 2, y: 2, width: 22, height: 12 };
    const box = svg(
      "g",
      { class: `box ${kind}` },
      svg("rect", { ...frame, class: "halo" }),
      svg("rect", { ...frame, class: "edge" }),
    );
    return html("span", null, svg("svg", { viewBox: "0 0 26 16", "aria-hidden": "true" }, box), text);
  };
  return [
    sample("right", "right, at IoU 0.50"),
    sample("wrong", "✕ wrong: a false alarm, a double or out of place"),
    sample("missed", "missed"),
    sample("crowd", "crowd, neither right nor wrong"),
  ];
}

function card(image, index) {
  const gains = challengers
    .map((model) => [model, entry(image.gain, model.name)])
    .filter(([, gain]) => !absent(gain))
    .map(([model, gain]) => html("span", { class: "gain" }, mark(model), named(model.name), ` ${signed(gain)}`));
  const open = html(
    "button",
    { type: "button", class: "panels", "aria-label": `Enlarge ${image.file_name}`, click: () => openEnlarged(index) },
    ...panels(index),
  );
  const head = html("header", null, html("h3", null, named(image.file_name)), ...gains);
  return html("article", { class: "card" }, head, open);
}

// Ground truth, then each model.
function panels(index) {
  return [null, ...models].map((model) => panel(index, model));
}

const visible = new Set(); // panels on the screen: only they are drawn
const watcher = new IntersectionObserver(
  (changes) => {
    for (const { target, isIntersecting } of changes) {
      visible[isIntersecting ? "add" : "delete"](target);
      if (isIntersecting) target.update();
    }
  },
  { rootMargin: "400px" },
);

// Letters keep their size on the screen, so the boxes are drawn again when a picture changes its width.
const measurer = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    const shown = target.closest(".panel");
    if (visible.has(shown)) shown.update();
  }
});

function panel(index, model) {
  const image = gallery[index];
  const size = { width: image.width, height: image.height };
  const picture = html("img", { ...size, alt: "" });
  const layer = svg("svg", { viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" });
  const count = html("span", { class: "count" });
  const heading = model ? title(model, SHORT_ROLES) : html("span", { class: "model" }, "Ground truth");
  const frame = html("span", { class: "picture" }, picture, layer);
  const node = html("span", { class: "panel" }, heading, count, frame);
  node.update = () => {
    if (!picture.src) picture.src = address(index);
    const boxes = panelBoxes(image, model);
    count.textContent = panelCounts(boxes, model);
    drawBoxes(layer, image, boxes, frame.clientWidth);
  };
  watcher.observe(node);
  measurer.observe(frame);
  return node;
}

function updatePanels() {
  for (const node of visible) {
    if (node.isConnected) node.update();
    else visible.delete(node);
  }
}
