// What the rest of AP50 is lost to.

const ERRORS = [
  ["classification", "Classification", "In the right place, of the wrong class"],
  ["localisation", "Localisation", "Of the right class, not quite in place"],
  ["both", "Both", "Wrong class, and not quite in place"],
  ["duplicate", "Duplicate", "A second box on an object that was found already"],
  ["background", "Background", "A box where there is nothing"],
  ["missed", "Missed", "An object that no box accounts for"],
];

function showErrors() {
  const lost = (model, kind) => model.errors?.[kind] ?? null;
  const shown = models.filter((model) => model.errors);
  if (!shown.length) {
    byId("errors-chart").append(notice("No errors were counted."));
    return;
  }
  const rows = ERRORS.map(([kind, label]) => ({
    label,
    points: shown
      .filter((model) => lost(model, kind) !== null)
      .map((model) => ({
        model,
        x: lost(model, kind),
        low: 0,
        high: lost(model, kind),
        text: `${model.name}, ${label}: ${fixed(lost(model, kind))}`,
      })),
  }));
  const columns = [
    { label: "Error", text: true, value: ([, label]) => label, show: ([, label]) => label },
    { label: "What it is", text: true, value: ([, , about]) => about, show: ([, , about]) => about },
    ...shown.map((model) => ({
      label: named(model.name),
      value: ([kind]) => lost(model, kind),
      show: ([kind]) => fixed(lost(model, kind)),
    })),
  ];
  byId("errors-chart").append(
    figure({
      label: "AP50 lost to each kind of error, for each model; numbers in the table below",
      key: legend(shown),
      numbers: sortableTable("AP50 lost by kind of error", columns, ERRORS),
      draw: () => rowsChart(rows, shown, { zero: false, xTitle: "AP50 lost" }),
    }),
    html(
      "dl",
      { class: "meanings" },
      ...ERRORS.map(([, label, about]) => html("div", null, html("dt", null, label), html("dd", null, about))),
    ),
  );
}
