// Charts with a row for each thing and in it a lane for each model: a mark, and a line to it or through it.

const LANE = 15; // pixels
const ROW_GAP = 13;
const LONG = 14; // rows: above that the axis is at the top, where reading starts

// rows: { label, points } with a point { model, x, low, high, hollow, text } for each model that has a number there.
// The line runs from low to high. With `zero`, a line is drawn there and marks may lie on either side of it; without,
// marks lie to its right and carry their number.
function rowsChart(rows, shown, { zero, xTitle }) {
  const lane = LANE / (shown.length * LANE + ROW_GAP); // in rows
  const at = (row, model) => row + (shown.indexOf(model) - (shown.length - 1) / 2) * lane;
  const points = rows.flatMap((row, i) => row.points.map((point) => ({ ...point, y: at(i, point.model) })));
  const stripes = rows.map((_, i) => stripe(i)).filter((_, i) => i % 2 === 0);
  const letters = byId("cost").clientWidth < 600 ? 15 : 30;
  return {
    traces: shown.map((model) =>
      rowsTrace(
        model,
        points.filter((point) => point.model === model),
        !zero,
      ),
    ),
    layout: {
      height: rows.length * (shown.length * LANE + ROW_GAP) + 52,
      shapes: zero ? [...stripes, zeroLine()] : stripes,
      margin: { r: zero ? 12 : 48 }, // room for the numbers
      xaxis: {
        title: { text: xTitle },
        side: rows.length > LONG ? "top" : "bottom",
        ...(zero ? {} : { range: [0, 1.02 * Math.max(...points.map((p) => p.x), 0.001)] }),
      },
      yaxis: {
        range: [rows.length - 0.5, -0.5],
        tickvals: rows.map((_, i) => i),
        ticktext: rows.map((row) => `${plain(clipped(row.label, letters))} `),
        tickfont: { size: 13, color: colour("ink") },
        showgrid: false,
        fixedrange: true,
      },
    },
  };
}

function rowsTrace(model, points, lettered) {
  const { colour: hue, symbol } = look(model);
  return {
    type: "scatter",
    mode: lettered ? "markers+text" : "markers",
    x: points.map((point) => point.x),
    y: points.map((point) => point.y),
    text: points.map((point) => `  ${fixed(point.x)}`),
    textposition: "middle right",
    textfont: { size: 11, color: colour("muted") },
    hovertext: points.map((point) => plain(point.text)),
    hoverinfo: "text",
    marker: {
      symbol,
      size: 10,
      opacity: 1,
      color: points.map((point) => (point.hollow ? colour("paper") : hue)),
      line: { color: hue, width: 2 },
    },
    error_x: {
      type: "data",
      symmetric: false,
      array: points.map((point) => point.high - point.x),
      arrayminus: points.map((point) => point.x - point.low),
      color: hue,
      thickness: 2.5,
      width: 0,
    },
    cliponaxis: false,
  };
}

function stripe(i) {
  const place = { type: "rect", xref: "paper", x0: 0, x1: 1, y0: i - 0.5, y1: i + 0.5 };
  return { ...place, layer: "below", line: { width: 0 }, fillcolor: colour("stripe") };
}

function zeroLine() {
  const line = { color: colour("ink"), width: 1.2 };
  return { type: "line", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, layer: "below", line };
}
