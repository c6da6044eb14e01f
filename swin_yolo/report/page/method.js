// What one needs to do it again: commands, settings, data, versions, and the weights that were scored.

function showMethod() {
  const { commands, settings, data, bootstrap, versions, machine } = comparison;
  const { recipe, ...rest } = settings;
  const { names, ...described } = data;
  const dataset = { ...described, classes: names.length };
  byId("method-parts").append(
    wide(part("Commands", ...commands.map(command))),
    part(
      "Settings",
      pairs("Settings", listed(rest)),
      recipe ? details("The recipe", pairs("Recipe", listed(recipe))) : null,
    ),
    part("Data", pairs("Data", listed(dataset))),
    part("Bootstrap", pairs("Bootstrap", listed(bootstrap))),
    part("Versions", pairs("Versions", listed(versions))),
    part("Machine", pairs("Machine", listed(machine))),
    wide(part("Models and their weights", weights())),
  );
}

function part(heading, ...children) {
  return html("div", { class: "part" }, html("h3", null, heading), ...children);
}

function wide(node) {
  node.classList.add("wide");
  return node;
}

function command(text) {
  const code = html("pre", { tabindex: "0" }, html("code", null, text));
  const copy = html("button", { type: "button", class: "quiet", click: () => copied(text, code, copy) }, "Copy");
  return html("div", { class: "command" }, code, copy);
}

// Where the clipboard is closed to pages from a file, the command is selected, to be copied by hand.
async function copied(text, code, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
}

function listed(object) {
  return Object.entries(object).map(([key, value]) => [key.replaceAll("_", " "), shownValue(value)]);
}

function shownValue(value) {
  if (absent(value)) return NONE;
  if (Array.isArray(value)) return value.map(shownValue).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "boolean" ? (value ? "yes" : "no") : String(value);
}

function weights() {
  const rows = models.flatMap((model) => model.runs.map((run) => ({ model, run })));
  return sortableTable(
    "Models and their weights",
    [
      { label: "Model", text: true, value: ({ model }) => model.name, show: ({ model }) => title(model, {}) },
      { label: "Built from", text: true, value: ({ model }) => model.cfg, show: ({ model }) => model.cfg ?? NONE },
      {
        label: "Started from",
        text: true,
        value: ({ model }) => model.started_from,
        show: ({ model }) => model.started_from ?? NONE,
      },
      { label: "Seed", ascending: true, value: ({ run }) => run.seed, show: ({ run }) => shownValue(run.seed) },
      {
        label: "Trained for",
        ascending: true,
        value: ({ run }) => run.seconds,
        show: ({ run }) => duration(run.seconds),
      },
      {
        label: "Weights",
        text: true,
        value: ({ run }) => run.weights,
        show: ({ run }) => html("code", null, shownValue(run.weights)),
      },
      {
        label: "SHA-256",
        text: true,
        value: ({ run }) => run.sha256,
        show: ({ run }) => html("code", { class: "hash" }, shownValue(run.sha256)),
      },
    ],
    rows,
  );
}
