// The top of the page: what came out, in words, with the interval of each model's difference, and whether it was fair.

const WORDS = { better: "▲", worse: "▼", "cannot tell": "◦" };

function showVerdict() {
  document.title = comparison.title;
  byId("title").textContent = comparison.title;
  byId("words").textContent = comparison.verdict;
  const created = new Date(comparison.created);
  const date = created.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
  byId("when").textContent = `Model comparison, ${date}`;
  byId("facts").textContent = facts().join(" · ");
  if (challengers.length) byId("intervals").append(intervals());
  if (comparison.fairness.length) byId("fairness").append(fairness());
}

function facts() {
  const { data, settings, bootstrap } = comparison;
  return [
    `${counted(data.images, "image")} of ${data.source} (${data.split})`,
    counted(classNames.length, "class", "classes"),
    settings.seeds ? counted(settings.seeds.length, "seed") : "finished models, not trained here",
    settings.epochs ? counted(settings.epochs, "epoch") : null,
    `${settings.imgsz} px`,
    `intervals: ${confidence}, paired bootstrap of ${grouped(bootstrap.resamples)} resamples`,
  ].filter(Boolean);
}

// Difference of AP to the baseline: every model's interval on one scale.
function intervals() {
  const known = challengers.map((model) => metricDifference(model, "AP")).filter(Boolean);
  const least = Math.min(0, ...known.map((d) => d.low));
  const most = Math.max(0, ...known.map((d) => d.high));
  const room = (most - least || 1) * 0.06;
  // Zero is never at the edge: there is room for a word on either side.
  const low = Math.min(least - room, -0.3 * most);
  const high = Math.max(most + room, -0.3 * least);
  const place = (value) => `${(100 * (value - low)) / (high - low || 1)}%`;
  const rows = challengers.map((model) => intervalRow(model, metricDifference(model, "AP"), place));
  const sides = [
    html("i", { class: "side worse-side", style: `right: calc(100% - ${place(0)})` }, "← worse"),
    html("i", { class: "side", style: `left: ${place(0)}` }, "better →"),
  ];
  const head = html(
    "p",
    { class: "intervals-head" },
    html("span", null, "Difference in AP to ", title(baseline)),
    html("span", { class: "strip", "aria-hidden": "true" }, ...sides),
  );
  return html("div", { class: "intervals" }, head, html("ul", null, ...rows));
}

function intervalRow(model, difference, place) {
  const { word, sentence } = model.verdict ?? {};
  const repeated = !sentence || comparison.verdict.includes(sentence);
  return html(
    "li",
    null,
    html("span", { class: "interval-model" }, title(model)),
    word ? html("span", { class: `word ${word.replace(" ", "-")}` }, `${WORDS[word] ?? ""} ${word}`) : null,
    strip(model, difference, place),
    html("span", { class: "interval-text" }, withInterval(difference)),
    repeated ? null : html("p", { class: "sentence" }, sentence),
  );
}

function strip(model, difference, place) {
  const parts = [html("i", { class: "zero", style: `left: ${place(0)}` })];
  if (difference) {
    const width = `calc(${place(difference.high)} - ${place(difference.low)})`;
    const { colour: hue } = look(model);
    parts.push(
      html("i", { class: "whisker", style: `left: ${place(difference.low)}; width: ${width}; background: ${hue}` }),
    );
    parts.push(html("i", { class: "dot", style: `left: ${place(difference.mean)}` }, mark(model)));
  }
  return html("span", { class: "strip", "aria-hidden": "true" }, ...parts);
}

function fairness() {
  const conditions = comparison.fairness;
  const unequal = conditions.filter((condition) => condition.same === false);
  const checked = conditions.filter((condition) => condition.same !== null);
  const unrecorded = conditions.length - checked.length;
  const rest = unrecorded ? `; ${unrecorded} ${unrecorded === 1 ? "was" : "were"} not recorded` : "";
  const summary = unequal.length
    ? html("span", { class: "unfair" }, `⚠ Not a like-for-like comparison: ${unequal.map((c) => c.what).join(", ")}`)
    : html("span", null, `✓ Like for like: all ${checked.length} conditions that were checked are the same${rest}`);
  const rank = ({ same }) => [false, null, true].indexOf(same);
  const rows = [...conditions].sort((a, b) => rank(a) - rank(b)).map(condition);
  const heads = ["Condition", "", "Values"].map((text) => html("th", { scope: "col", class: "words" }, text));
  const table = html(
    "table",
    { class: "conditions" },
    html("thead", null, html("tr", null, ...heads)),
    html("tbody", null, ...rows),
  );
  const node = details(summary, scroller("Fairness", table));
  node.open = unequal.length > 0;
  return node;
}

function condition({ what, same, values }) {
  const distinct = new Set(Object.values(values));
  const shown =
    distinct.size === 1
      ? [...distinct][0]
      : html(
          "ul",
          { class: "values" },
          ...Object.entries(values).map(([name, value]) => html("li", null, named(name), `: ${value}`)),
        );
  return html(
    "tr",
    { class: same === false ? "differs" : null },
    html("th", { scope: "row" }, what),
    html("td", { class: "words" }, { true: "✓ same", false: "⚠ differs", null: "not recorded" }[same]),
    html("td", { class: "words" }, shown),
  );
}
