// Differences to the baseline with their intervals: by metric and object size, and by class.

const MANY_CLASSES = 24;
const EXTREMES = 10; // classes at either end that are shown first where there are many
const READING = "Right of the line is better; a hollow mark’s interval includes zero.";

function showSizes() {
  const rows = METRICS.map(([name, label]) => differenceRow(label, (model) => metricDifference(model, name)));
  if (!introduced("sizes", rows)) return;
  byId("sizes-chart").append(
    figure({
      label: `Difference of each COCO metric to ${baseline.name}, with intervals; numbers in the table below`,
      key: legend(challengers),
      numbers: sortableTable(
        "Differences by metric and object size",
        differenceColumns("Metric", METRIC_LABELS),
        METRICS.map(([name]) => name),
      ),
      draw: () => differenceChart(rows.filter((row) => row.points.length)),
    }),
  );
}

const METRIC_LABELS = {
  text: (name) => METRICS.find(([key]) => key === name)[1],
  before: [],
  mean: (model, name) => mean(model, name),
  difference: (model, name) => metricDifference(model, name),
};

function showClasses() {
  const rows = classNames.map((name) => differenceRow(name, (model) => classDifference(model, name)));
  if (!introduced("classes", rows)) return;
  const state = { by: challengers[0], all: rows.length <= MANY_CLASSES, metric: "AP" };
  const chart = figure({
    label: `Difference of each class’s AP to ${baseline.name}, with intervals; numbers in the table below`,
    controls: classControls(state, rows, () => chart.redraw()),
    key: legend(challengers),
    numbers: classTable(),
    draw: () => differenceChart(chosenRows(rows, state)),
  });
  byId("classes-chart").append(chart);
}

// The words over a chart of differences; false where there is none to draw.
function introduced(id, rows) {
  const any = rows.some((row) => row.points.length);
  byId(`${id}-lead`).textContent = any
    ? `To ${baseline.name}, with ${confidence} intervals of a paired bootstrap over images${seeds > 1 ? " and seeds" : ""}. ${READING}`
    : challengers.length
      ? "No difference could be measured."
      : "There is one model, so there is nothing to compare it with.";
  return any;
}

function differenceRow(label, difference) {
  const points = challengers
    .map((model) => ({ model, d: difference(model) }))
    .filter(({ d }) => d)
    .map(({ model, d }) => ({
      model,
      x: d.mean,
      low: d.low,
      high: d.high,
      hollow: !excludesZero(d),
      text: `${model.name}, ${label}: ${withInterval(d)}`,
    }));
  return { label, points };
}

function differenceChart(rows) {
  return rowsChart(rows, challengers, { zero: true, xTitle: `difference to ${plain(clipped(baseline.name, 30))}` });
}

function chosenRows(rows, state) {
  const of = (row) => row.points.find((point) => point.model === state.by)?.x;
  const sorted = rows.filter((row) => row.points.length).sort((a, b) => compare(of(a), of(b), "descending"));
  const between = sorted.length - 2 * EXTREMES;
  if (state.all || between < 1) return sorted;
  return [...sorted.slice(0, EXTREMES), { label: `${between} between`, points: [] }, ...sorted.slice(-EXTREMES)];
}

function classControls(state, rows, redraw) {
  const choices = challengers.map((model, i) => [String(i), model.name]);
  const by = chooser("Sorted by the difference of", choices, (value) => {
    state.by = challengers[Number(value)];
    redraw();
  });
  const label = () => (state.all ? `Show the ${EXTREMES} best and worst` : `Show all ${rows.length} classes`);
  const toggle = html(
    "button",
    {
      type: "button",
      id: "all-classes",
      click: () => {
        state.all = !state.all;
        toggle.textContent = label();
        redraw();
      },
    },
    label(),
  );
  const parts = [challengers.length > 1 ? by : null, rows.length > MANY_CLASSES ? toggle : null].filter(Boolean);
  return parts.length ? html("div", { class: "chart-controls" }, ...parts) : null;
}

const CLASS_METRICS = ["AP", "AP50", "APs", "APm", "APl", "AR100"];

function classTable() {
  const holder = html("div");
  const labels = (name) => ({
    text: (n) => n,
    before: [
      {
        label: "Boxes",
        about: "Of ground truth, crowds not counted",
        value: boxesOf,
        show: (n) => grouped(boxesOf(n)),
      },
    ],
    mean: (model, n) => classMean(model, n, name),
    difference: name === "AP" ? (model, n) => classDifference(model, n) : null,
  });
  const fill = (name) =>
    holder.replaceChildren(
      sortableTable("Differences by class", differenceColumns("Class", labels(name), name), classNames),
    );
  fill("AP");
  return html(
    "div",
    null,
    chooser(
      "Metric",
      CLASS_METRICS.map((name) => [name, name]),
      fill,
    ),
    holder,
  );
}

// Columns of a table whose rows are names: of metrics or of classes.
function differenceColumns(head, { text, before, mean: value, difference }, metricName = null) {
  const means = models.map((model) => ({
    label: [metricName ? `${metricName} ` : null, named(model.name)],
    value: (name) => value(model, name),
    show: (name) => fixed(value(model, name)),
  }));
  const differences = challengers.map((model) => ({
    label: ["Δ ", named(model.name)],
    value: (name) => difference?.(model, name)?.mean,
    show: (name) => withInterval(difference?.(model, name)),
  }));
  const first = { label: head, text: true, value: text, show: (name) => named(text(name)) };
  return [first, ...before, ...means, ...(difference ? differences : [])];
}
