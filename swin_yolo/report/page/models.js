// A model looks the same everywhere: a colour, a shape and a dash, so that it can be told without colour too.

const SHAPES = [
  ["circle", "M6 1a5 5 0 1 0 0 10a5 5 0 1 0 0-10z"],
  ["diamond", "M6 0L12 6L6 12L0 6z"],
  ["square", "M1.2 1.2H10.8V10.8H1.2z"],
  ["triangle-up", "M6 .5L12 11H0z"],
  ["pentagon", "M6 .2L11.9 4.5L9.6 11.4H2.4L.1 4.5z"],
  ["cross", "M4 0H8V4H12V8H8V12H4V8H0V4H4z"],
  ["triangle-down", "M6 11.5L0 1H12z"],
  ["star", "M6 0L7.8 4.1L12 4.5L8.8 7.4L9.7 11.8L6 9.5L2.3 11.8L3.2 7.4L0 4.5L4.2 4.1z"],
];
const DASHES = [
  ["solid", ""],
  ["dash", "9 9"],
  ["dot", "3 3"],
  ["dashdot", "9 3 3 3"],
  ["longdash", "14 7"],
  ["longdashdot", "14 4 3 4"],
];
const ROLES = { baseline: "baseline", control: "parameter-matched control" };
const SHORT_ROLES = { control: "control" }; // where there is little room, and no doubt which one is the baseline

function look(model) {
  const index = models.indexOf(model);
  const [symbol, path] = SHAPES[index % SHAPES.length];
  const [dash, strokes] = DASHES[index % DASHES.length];
  return { colour: DATA.modelColours[index], symbol, path, dash, strokes };
}

function mark(model) {
  const { colour, path } = look(model);
  return svg(
    "svg",
    { class: "mark", viewBox: "0 0 12 12", "aria-hidden": "true" },
    svg("path", { d: path, fill: colour }),
  );
}

// The piece of a curve, for legends of line charts.
function stroke(model) {
  const { colour, strokes } = look(model);
  const line = { d: "M0 6H30", stroke: colour, "stroke-width": 2.5, "stroke-dasharray": strokes || null };
  return svg("svg", { class: "stroke", viewBox: "0 0 30 12", "aria-hidden": "true" }, svg("path", line));
}

function chip(model, words = ROLES) {
  return words[model.role] ? html("span", { class: "chip", title: ROLES[model.role] }, words[model.role]) : null;
}

function title(model, words = ROLES) {
  return html("span", { class: "model" }, mark(model), named(model.name), chip(model, words));
}

function legend(shown, piece = mark) {
  const items = shown.map((model) => html("li", null, piece(model), named(model.name), chip(model)));
  return html("ul", { class: "legend" }, ...items);
}
