// The gallery's controls: a confidence slider, the classes, and whether boxes carry labels.

const FEW_CLASSES = 12;

// Build them into `holder`; `onChange` is called after each change.
function showControls(holder, onChange) {
  holder.append(slider(onChange), classFilter(onChange), labelsToggle(onChange));
}

function slider(onChange) {
  const output = html("output", { for: "confidence" }, fixed(filter.confidence, 2));
  const input = html("input", {
    type: "range",
    id: "confidence",
    min: 0,
    max: 1,
    step: 0.01,
    value: filter.confidence,
  });
  input.addEventListener("input", () => {
    filter.confidence = Number(input.value);
    output.textContent = fixed(filter.confidence, 2);
    onChange();
  });
  return html("div", { class: "slider" }, html("label", { for: "confidence" }, "Confidence at least"), input, output);
}

function labelsToggle(onChange) {
  const input = html("input", { type: "checkbox", id: "labels", checked: filter.labels });
  input.addEventListener("change", () => {
    filter.labels = input.checked;
    onChange();
  });
  return html("label", { class: "check" }, input, "Labels");
}

function classFilter(onChange) {
  const inputs = classNames.map((_, i) => html("input", { type: "checkbox", checked: true, value: i, change: read }));
  const count = html("span", { class: "count" });
  function read() {
    filter.hidden = new Set(inputs.filter((input) => !input.checked).map((input) => Number(input.value)));
    count.textContent = `${classNames.length - filter.hidden.size} of ${classNames.length} shown`;
    onChange();
  }
  function all(checked) {
    for (const input of inputs) input.checked = checked;
    read();
  }
  const every = html("button", { type: "button", class: "quiet", click: () => all(true) }, "All");
  const none = html("button", { type: "button", class: "quiet", click: () => all(false) }, "None");
  const checks = inputs.map((input, i) => html("label", { class: "check" }, input, swatch(i), named(classNames[i])));
  const many = classNames.length > FEW_CLASSES;
  const parts = many ? [every, none, ...checks] : [...checks, every, none];
  const fields = html("fieldset", { class: "class-filter" }, html("legend", { class: "unseen" }, "Classes"), ...parts);
  count.textContent = `${classNames.length} of ${classNames.length} shown`;
  return many ? details(html("span", null, "Classes, ", count), fields) : fields;
}

function swatch(index) {
  return html("i", { class: "swatch", "aria-hidden": "true", style: `background: ${DATA.classColours[index][0]}` });
}
