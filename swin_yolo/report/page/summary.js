// The table of all models.

function showSummary() {
  const spread = `Means over ${counted(seeds, "seed")}, ± their standard deviation. `;
  byId("models-lead").textContent = `${seeds > 1 ? spread : ""}Press a column’s head to sort by it.`;
  byId("summary").append(sortableTable("Models", summaryColumns(), models));
}

function summaryColumns() {
  const plainMetrics = METRICS.filter(([name]) => !["AP", "AR1", "AR10"].includes(name));
  return [
    { label: "Model", text: true, value: (m) => m.name, show: title },
    {
      label: "AP",
      about: "Mean of IoU .50 to .95",
      value: (m) => mean(m, "AP"),
      show: (m) => withSpread(m.metrics.AP),
    },
    {
      label: "Δ AP",
      about: `Difference to ${baseline.name}, with its ${confidence} interval`,
      value: (m) => metricDifference(m, "AP")?.mean,
      show: (m) => withInterval(metricDifference(m, "AP")),
    },
    cost("Parameters", "Trained weights", (m) => m.parameters, millions),
    cost(
      "GFLOPs",
      "For one image, a multiply-add counted as two",
      (m) => m.gflops,
      (value) => fixed(value, 1),
    ),
    cost("Latency", "Median for one image", (m) => m.latency_ms?.median, milliseconds),
    ...plainMetrics.map(([name, about]) => ({
      label: name,
      about,
      value: (m) => mean(m, name),
      show: (m) => fixed(mean(m, name)),
    })),
    {
      label: "Training",
      about: "Images per second while training, median",
      value: (m) => m.training_images_per_second?.median,
      show: (m) => unit(m.training_images_per_second?.median, 1, "img/s"),
    },
    cost(
      "Memory",
      "Peak while training",
      (m) => m.peak_memory_mb,
      (value) => unit(value, 0, "MB"),
    ),
  ];
}

function cost(label, about, value, shown) {
  return { label, about, ascending: true, value, show: (model) => shown(value(model)) };
}

function unit(value, digits, name) {
  return absent(value) ? NONE : `${fixed(value, digits)} ${name}`;
}

function milliseconds(value) {
  return unit(value, 1, "ms");
}
