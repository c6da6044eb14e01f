// Tables whose heads are buttons that sort them.

// columns: { label, value(row), show(row), about, text, ascending }. `value` is sorted by and may be null, which comes
// last either way; `show` gives a string or a node. The first column holds the rows' heads. Numbers sort downwards
// first, unless `ascending`; `text` is sorted as words.
function sortableTable(caption, columns, rows) {
  const body = html("tbody");
  const heads = columns.map((column, i) => head(column, i === 0 || column.text, () => sort(column)));
  let sorted = null;

  function head(column, words, click) {
    const arrow = html("span", { class: "arrow", "aria-hidden": "true" });
    const button = html("button", { type: "button", click, title: column.about }, column.label, arrow);
    return html("th", { scope: "col", class: words ? "words" : null, "aria-sort": "none" }, button);
  }

  function sort(column) {
    const first = column.text || column.ascending ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const direction = sorted?.column === column && sorted.direction === first ? other : first;
    sorted = { column, direction };
    heads.forEach((th, i) => th.setAttribute("aria-sort", columns[i] === column ? direction : "none"));
    fill([...rows].sort((a, b) => compare(column.value(a), column.value(b), direction)));
  }

  function fill(ordered) {
    body.replaceChildren(
      ...ordered.map((row) => html("tr", null, ...columns.map((column, i) => cell(column, row, i)))),
    );
  }

  fill(rows);
  return scroller(
    caption,
    html(
      "table",
      null,
      html("caption", { class: "unseen" }, caption),
      html("thead", null, html("tr", null, ...heads)),
      body,
    ),
  );
}

function cell(column, row, index) {
  const attributes = { class: column.text ? "words" : null, ...(index ? {} : { scope: "row" }) };
  return html(index ? "td" : "th", attributes, column.show(row));
}

function compare(a, b, direction) {
  if (absent(a) || absent(b)) return absent(a) - absent(b);
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return direction === "ascending" ? order : -order;
}

// A table of two columns: what, and its value.
function pairs(caption, rows) {
  const body = rows.map(([what, value]) =>
    html("tr", null, html("th", { scope: "row" }, what), html("td", null, value)),
  );
  return scroller(
    caption,
    html("table", { class: "pairs" }, html("caption", { class: "unseen" }, caption), html("tbody", null, ...body)),
  );
}
