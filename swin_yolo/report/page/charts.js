// Charts by Plotly: drawn again when the colours or their content change.

const CONFIG = { displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset" };
const canHover = matchMedia("(hover: hover) and (pointer: fine)").matches;

// Text of the data's as Plotly shows it: Plotly reads some tags and entities in labels.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function clipped(text, length) {
  const letters = [...String(text)];
  return letters.length > length ? `${letters.slice(0, length - 1).join("")}…` : String(text);
}

// A figure with its heading, its legend, the chart and the same numbers as a table. `draw` gives Plotly's traces and
// layout; it is called whenever they may have changed. The figure's `redraw` calls for that.
function figure({ heading, label, key, numbers, draw, controls, className }) {
  const holder = html("div", { class: "chart", role: "img", "aria-label": label });
  const node = html(
    "figure",
    { class: className },
    heading ? html("figcaption", null, heading) : null,
    controls ?? null,
    key ?? null,
    holder,
    numbers ? details("The numbers", numbers) : null,
  );
  node.redraw = () => {
    const { traces, layout } = draw();
    holder.style.height = `${layout.height}px`;
    Plotly.react(holder, traces, merged(base(), layout), CONFIG);
  };
  themeListeners.push(node.redraw);
  return node;
}

function notice(text) {
  return html("p", { class: "notice" }, text);
}

function base() {
  const axis = {
    color: colour("muted"),
    gridcolor: colour("grid"),
    linecolor: colour("line"),
    zerolinecolor: colour("line"),
    zeroline: false,
    automargin: true,
    fixedrange: !canHover,
    tickfont: { size: 12 },
    title: { font: { size: 12, color: colour("muted") }, standoff: 8 },
  };
  const hover = { bgcolor: colour("raised"), bordercolor: colour("line"), align: "left" };
  return {
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: colour("sans"), size: 12, color: colour("ink") },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    showlegend: false,
    hovermode: "closest",
    dragmode: canHover ? "zoom" : false,
    hoverlabel: { ...hover, font: { color: colour("ink"), family: colour("sans"), size: 13 }, namelength: -1 },
    xaxis: axis,
    yaxis: axis,
  };
}

// `over` laid over `under`, object by object.
function merged(under, over) {
  const result = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const both = isPlain(value) && isPlain(under[key]);
    result[key] = both ? merged(under[key], value) : value;
  }
  return result;
}

function isPlain(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
