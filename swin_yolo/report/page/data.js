// What was compared, as compare.json and the gallery hold it.

const DATA = JSON.parse(byId("data").textContent);
const { comparison, gallery } = DATA;
const models = comparison.models;
const classNames = comparison.data.names;
const baseline = models.find((model) => model.role === "baseline") ?? models[0];
const challengers = models.filter((model) => model !== baseline);

const METRICS = [
  ["AP", "AP"],
  ["AP50", "AP at IoU .50"],
  ["AP75", "AP at IoU .75"],
  ["APs", "AP, small"],
  ["APm", "AP, medium"],
  ["APl", "AP, large"],
  ["AR1", "AR, 1 box"],
  ["AR10", "AR, 10 boxes"],
  ["AR100", "AR, 100 boxes"],
  ["ARs", "AR, small"],
  ["ARm", "AR, medium"],
  ["ARl", "AR, large"],
];

// An entry that the object itself has: a class may be named like something that every object inherits.
const entry = (object, key) => (object && Object.hasOwn(object, key) ? object[key] : undefined);

const mean = (model, name) => metric(entry(model.metrics, name)?.mean);
const classMean = (model, name, metricName) => metric(entry(entry(model.per_class, name), metricName)?.mean);
const metricDifference = (model, name) => measured(entry(model.difference?.metrics, name));
const classDifference = (model, name) => measured(entry(model.difference?.per_class, name));
const boxesOf = (name) => entry(baseline.per_class, name)?.boxes ?? null;
const seeds = Math.max(...models.map((model) => model.metrics.AP.values.length));
const confidence = `${+(comparison.bootstrap.confidence * 100).toFixed(1)}%`;
