"use strict";

// Elements and the text in them. What comes from the data becomes a text node or a plain attribute, never markup.

const byId = (id) => document.getElementById(id);

function html(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// An attribute whose value is a function is an event's listener; null and false leave an attribute or a child out.
function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// A name from the data: kept to itself where it is written from right to left.
function named(text, className = "name") {
  return html("bdi", { class: className }, text);
}

function scroller(label, ...children) {
  return html("div", { class: "scroller", role: "region", tabindex: "0", "aria-label": label }, ...children);
}

function details(summary, ...children) {
  return html("details", null, html("summary", null, summary), ...children);
}

function chooser(label, choices, onChange) {
  const select = html("select", { change: () => onChange(select.value) });
  select.append(...choices.map(([value, text]) => html("option", { value }, text)));
  return html("label", { class: "chooser" }, html("span", null, label), select);
}
