// Precision over recall, and the course of the training runs.

const TRAINING = [
  ["AP", "AP on val"],
  ["AP50", "AP50 on val"],
  ["loss", "Training loss"],
];

function showPrecision() {
  const state = { name: null };
  const curve = (model) => {
    const values = state.name === null ? model.pr?.mean : entry(model.pr?.classes, state.name);
    return values?.some((value) => value >= 0) ? values.map(metric) : null;
  };
  if (!models.some(curve)) {
    byId("precision-chart").append(notice("There is no ground truth to draw a curve of."));
    return;
  }
  const key = html("div");
  const numbers = html("div");
  const choose = chooser(
    "Class",
    [["", `mean of ${counted(classNames.length, "class", "classes")}`], ...classNames.map((n, i) => [String(i), n])],
    (value) => {
      state.name = value === "" ? null : classNames[Number(value)];
      chart.redraw();
    },
  );
  const chart = figure({
    label: "Precision over recall of each model; numbers in the table below",
    className: "beside",
    controls: html("div", { class: "chart-controls" }, choose),
    key,
    numbers,
    draw: () => {
      const shown = models.filter(curve);
      key.replaceChildren(shown.length ? precisionLegend(shown, curve) : notice("No ground truth of this class."));
      numbers.replaceChildren(precisionTable(shown, curve));
      return precisionChart(shown, curve);
    },
  });
  byId("precision-chart").append(chart);
}

function precisionLegend(shown, curve) {
  const list = legend(shown, stroke);
  [...list.children].forEach((item, i) => {
    const values = curve(shown[i]).filter((value) => value !== null);
    item.append(html("b", { class: "score" }, `AP50 ${fixed(values.reduce((a, b) => a + b) / values.length)}`));
  });
  return list;
}

function precisionChart(shown, curve) {
  const traces = shown.map((model) => ({
    ...lineOf(model),
    x: model.pr.recall,
    y: curve(model),
    text: model.pr.recall.map((r, i) =>
      plain(`${model.name}: precision ${fixed(curve(model)[i])} at recall ${fixed(r, 2)}`),
    ),
    hoverinfo: "text",
  }));
  const unitAxis = { range: [0, 1.01], tickformat: ".1f", dtick: 0.2 };
  return {
    traces,
    layout: {
      height: 400,
      xaxis: { title: { text: "recall" }, ...unitAxis },
      yaxis: { title: { text: "precision" }, ...unitAxis },
    },
  };
}

function precisionTable(shown, curve) {
  const tenths = shown.length ? shown[0].pr.recall.map((r, i) => [r, i]).filter(([, i]) => i % 10 === 0) : [];
  const columns = shown.map((model) => ({
    label: named(model.name),
    value: ([, i]) => curve(model)[i],
    show: ([, i]) => fixed(curve(model)[i]),
  }));
  const recall = { label: "Recall", ascending: true, value: ([r]) => r, show: ([r]) => fixed(r, 1) };
  return sortableTable("Precision by recall", [recall, ...columns], tenths);
}

function lineOf(model) {
  const { colour: hue, dash } = look(model);
  return { type: "scatter", mode: "lines", line: { color: hue, width: 2.25, dash } };
}

function showTraining() {
  const trained = models.filter((model) => model.curves.length);
  const seeds = Math.max(0, ...trained.map((model) => model.curves.length));
  byId("training-lead").textContent = !trained.length
    ? "These models came finished: nothing was trained for this comparison, so there are no curves."
    : seeds > 1
      ? "A line is the mean over seeds, its band goes from the lowest to the highest, and thin lines are single runs."
      : "One run of each model, so there is no band.";
  if (!trained.length) return;
  byId("training-charts").before(legend(trained, stroke));
  byId("training-charts").append(...TRAINING.map(([name, heading]) => trainingFigure(trained, name, heading)));
  byId("training-charts").after(details("The numbers", trainingTable(trained)));
}

function trainingFigure(trained, name, heading) {
  return figure({
    heading,
    label: `${heading} over the epochs, for each model; where they ended is in the table below`,
    draw: () => ({
      traces: trained.flatMap((model) => trainingTraces(model, name)),
      layout: { height: 280, xaxis: { title: { text: "epoch" } }, yaxis: { tickformat: name === "loss" ? "" : ".2f" } },
    }),
  });
}

// The runs' values at the epochs that all runs reached: a mean over fewer runs would jump where one stops.
function common(model, name) {
  const value = name === "loss" ? (v) => v : metric;
  const runs = model.curves.map((curve) => curve[name].map(value));
  const length = Math.min(...runs.map((run) => run.length));
  const at = (i) => runs.map((run) => run[i]).filter((v) => !absent(v));
  const columns = Array.from({ length }, (_, i) => at(i));
  const over = (reduce) => columns.map((values) => (values.length ? reduce(values) : null));
  return {
    epoch: model.curves[0].epoch.slice(0, length),
    runs,
    mean: over((values) => values.reduce((a, b) => a + b) / values.length),
    low: over((values) => Math.min(...values)),
    high: over((values) => Math.max(...values)),
  };
}

function trainingTraces(model, name) {
  const { epoch, runs, mean: middle, low, high } = common(model, name);
  const { colour: hue } = look(model);
  const silent = { type: "scatter", mode: "lines", hoverinfo: "skip" };
  const several = runs.length > 1;
  const edge = { ...silent, x: epoch, line: { width: 0, color: hue } };
  const single = runs.map((run, i) => ({
    ...silent,
    x: model.curves[i].epoch,
    y: run,
    line: { width: 0.75, color: translucent(hue, 0.55) },
  }));
  const line = {
    ...lineOf(model),
    x: epoch,
    y: middle,
    text: epoch.map((e, i) => plain(`${model.name}, epoch ${e}: ${fixed(middle[i])}`)),
    hoverinfo: "text",
  };
  if (!several) return [line];
  return [
    { ...edge, y: low },
    { ...edge, y: high, fill: "tonexty", fillcolor: translucent(hue, 0.16) },
    ...single,
    line,
  ];
}

function trainingTable(trained) {
  const ends = (name) => (model) => common(model, name).mean.at(-1);
  const epoch = (model) => common(model, "AP").epoch.at(-1);
  const columns = [
    { label: "Model", text: true, value: (m) => m.name, show: title },
    { label: "Epochs", about: "That every seed reached", value: epoch, show: (m) => grouped(epoch(m)) },
    ...TRAINING.map(([name, heading]) => ({
      label: heading,
      about: "In the last of these epochs, mean over seeds",
      ascending: name === "loss",
      value: ends(name),
      show: (m) => fixed(ends(name)(m)),
    })),
  ];
  return sortableTable("Training", columns, trained);
}
