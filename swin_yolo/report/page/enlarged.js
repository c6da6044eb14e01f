// One image of the gallery, as large as the window allows.

let enlargedIndex = 0;

function startEnlarged() {
  const dialog = byId("enlarged");
  byId("close").addEventListener("click", () => dialog.close());
  byId("earlier").addEventListener("click", () => turn(-1));
  byId("later").addEventListener("click", () => turn(1));
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.target.type !== "range") turn(step);
  });
  dialog.addEventListener("close", () => {
    byId("controls-place").append(byId("controls"));
    byId("enlarged-panels").replaceChildren();
    updatePanels();
  });
  addEventListener("resize", arrange);
}

// The controls move into the dialog and back: the page behind it cannot be reached while it is open.
function openEnlarged(index) {
  byId("enlarged-controls").append(byId("controls"));
  byId("enlarged").showModal();
  enlarge(index);
}

function turn(step) {
  enlarge((enlargedIndex + step + gallery.length) % gallery.length);
}

function enlarge(index) {
  enlargedIndex = index;
  byId("enlarged-name").replaceChildren(named(gallery[index].file_name));
  byId("enlarged-place").textContent = `${index + 1} of ${gallery.length}`;
  byId("enlarged-panels").replaceChildren(...panels(index));
  byId("enlarged-panels").scrollTop = 0;
  arrange();
}

// As many columns as make the pictures largest.
function arrange() {
  const holder = byId("enlarged-panels");
  if (!holder.children.length) return;
  const { width, height } = gallery[enlargedIndex];
  const n = models.length + 1;
  const heading = 52; // and the gap between rows
  const side = (columns) => {
    const rows = Math.ceil(n / columns);
    return Math.min(holder.clientWidth / columns, (holder.clientHeight / rows - heading) * (width / height));
  };
  const counts = Array.from({ length: n }, (_, i) => i + 1);
  const columns = innerWidth < 700 ? 1 : counts.reduce((best, c) => (side(c) > side(best) ? c : best));
  holder.style.setProperty("--columns", columns);
  holder.style.setProperty("--side", innerWidth < 700 ? "100%" : `${Math.floor(side(columns) - 12)}px`);
}
