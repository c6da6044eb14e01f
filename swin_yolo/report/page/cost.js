// AP against what it costs: latency and parameters.

function showCost() {
  const latency = {
    heading: "AP against latency",
    xTitle: "latency of one image, ms",
    column: "Latency",
    value: (model) => model.latency_ms?.median,
    whisker: (model) => model.latency_ms,
    shown: milliseconds,
    missing: "No latency was measured.",
  };
  const parameters = {
    heading: "AP against parameters",
    xTitle: "parameters, millions",
    column: "Parameters",
    value: (model) => (absent(model.parameters) ? null : model.parameters / 1e6),
    whisker: () => null,
    shown: (value) => unit(value, 2, "M"),
    missing: "No model’s parameters are known.",
  };
  byId("cost-lead").textContent =
    "Up and to the left is better. Whiskers are the quartiles of the latency" +
    (seeds > 1 ? " and the standard deviation of AP over seeds." : ".");
  byId("cost-charts").before(legend(models));
  byId("cost-charts").append(costFigure(latency), costFigure(parameters));
}

function costFigure(kind) {
  const shown = models.filter((model) => !absent(kind.value(model)) && mean(model, "AP") !== null);
  if (!shown.length) return html("figure", null, html("figcaption", null, kind.heading), notice(kind.missing));
  const left = models.filter((model) => !shown.includes(model)).map((model) => model.name);
  const columns = [
    { label: "Model", text: true, value: (m) => m.name, show: title },
    cost(kind.column, kind.xTitle, kind.value, kind.shown),
    { label: "AP", value: (m) => mean(m, "AP"), show: (m) => withSpread(m.metrics.AP) },
  ];
  const described = (m) => `${m.name}, ${kind.shown(kind.value(m))}, AP ${fixed(mean(m, "AP"))}`;
  return figure({
    heading: kind.heading,
    label: `${kind.heading}: ${shown.map(described).join("; ")}`,
    key: left.length ? notice(`Not known, so not drawn: ${left.join(", ")}`) : null,
    numbers: sortableTable(kind.heading, columns, models),
    draw: () => costChart(kind, shown),
  });
}

const COST_HEIGHT = 320;
const SIDES = ["top right", "bottom right", "top left", "bottom left"];

function costChart(kind, shown) {
  const x = shown.map(kind.value);
  const logarithmic = Math.min(...x) > 0 && Math.max(...x) / Math.min(...x) > 8;
  const right = shown.map((m, i) => (kind.whisker(m)?.high ?? x[i]) - x[i]);
  const left = shown.map((m, i) => x[i] - (kind.whisker(m)?.low ?? x[i]));
  const spreads = shown.map((m) => m.metrics.AP.spread ?? 0);
  const heights = shown.flatMap((m, i) => [m.metrics.AP.mean - spreads[i], m.metrics.AP.mean + spreads[i]]);
  const widths = logarithmic ? x.map(Math.log10) : x.flatMap((value, i) => [value - left[i], value + right[i]]);
  const ranges = [padded(widths), padded(heights)];
  const sides = labelSides(shown, logarithmic ? x.map(Math.log10) : x, ranges);
  const traces = shown.map((model, i) => {
    const { colour: hue, symbol } = look(model);
    const whisker = { type: "data", color: hue, thickness: 1.5, width: 0 };
    return {
      type: "scatter",
      mode: "markers+text",
      x: [x[i]],
      y: [mean(model, "AP")],
      text: [plain(pointLabel(model))],
      textposition: sides[i],
      textfont: { size: 12, color: colour("ink") },
      hovertext: [plain(`${model.name}: AP ${withSpread(model.metrics.AP)}, ${kind.shown(x[i])}`)],
      hoverinfo: "text",
      marker: { symbol, color: hue, size: 14, opacity: 1, line: { color: colour("paper"), width: 1.5 } },
      error_y: { ...whisker, array: [spreads[i]] },
      error_x: { ...whisker, symmetric: false, array: [right[i]], arrayminus: [left[i]] },
      cliponaxis: false,
    };
  });
  return {
    traces,
    layout: {
      height: COST_HEIGHT,
      xaxis: { title: { text: kind.xTitle }, type: logarithmic ? "log" : "linear", range: ranges[0] },
      yaxis: { title: { text: "AP" }, range: ranges[1], tickformat: ".3f" },
    },
  };
}

const pointLabel = (model) => clipped(model.name, 20);

const MOST_STEPS = 20000; // of the search below, which for six models takes a few hundred

// On which side of its mark each name stands: where names cover each other, marks and the edge least. The side of one
// may leave none to another, so that they are chosen together.
function labelSides(shown, x, [xRange, yRange]) {
  const box = byId("cost-charts").firstElementChild.getBoundingClientRect();
  const [width, height] = [box.width - 70, COST_HEIGHT - 60];
  const across = (value) => ((value - xRange[0]) / (xRange[1] - xRange[0])) * width;
  const down = (value) => ((yRange[1] - value) / (yRange[1] - yRange[0])) * height;
  const centres = shown.map((model, i) => [across(x[i]), down(mean(model, "AP"))]);
  const marks = centres.map(([cx, cy]) => [cx - 8, cy - 8, 16, 16]);
  const frame = [0, 0, width, height];
  const places = shown.map((model, i) =>
    SIDES.map((side) => {
      const size = [pointLabel(model).length * 7 + 4, 16];
      const place = [
        centres[i][0] + (side.endsWith("right") ? 9 : -9 - size[0]),
        centres[i][1] + (side.startsWith("top") ? -9 - size[1] : 9),
        ...size,
      ];
      const outside = area(place) - overlap(place, frame);
      return { side, place, cost: outside + covered(place, marks) };
    }),
  );
  let [steps, best] = [0, { cost: Infinity, chosen: [] }];
  const search = (chosen, cost) => {
    if (cost >= best.cost || steps++ > MOST_STEPS) return;
    if (chosen.length === places.length) {
      best = { cost, chosen };
      return;
    }
    const taken = chosen.map(({ place }) => place);
    const options = places[chosen.length].map((option) => [option, option.cost + covered(option.place, taken)]);
    options.sort(([, a], [, b]) => a - b).forEach(([option, more]) => search([...chosen, option], cost + more));
  };
  search([], 0);
  return best.chosen.map(({ side }) => side);
}

const covered = (place, others) => others.reduce((sum, other) => sum + overlap(place, other), 0);

// From the least to the greatest, with room around them.
function padded(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * 0.18 || Math.abs(high) * 0.1 || 0.1;
  return [low - room, high + room];
}
