// Light or dark: as the system says until the button is pressed. Print is always light.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const themeListeners = [];
let chosenTheme = null;
let printing = false;

function isDark() {
  return !printing && (chosenTheme ? chosenTheme === "dark" : prefersDark.matches);
}

function applyTheme() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  byId("theme").textContent = isDark() ? "Light mode" : "Dark mode";
  for (const listener of themeListeners) listener();
}

// A colour of the page's, by the name of its CSS variable.
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function translucent(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

function startTheme() {
  byId("theme").addEventListener("click", () => {
    chosenTheme = isDark() ? "light" : "dark";
    applyTheme();
  });
  prefersDark.addEventListener("change", applyTheme);
  for (const [event, value] of [
    ["beforeprint", true],
    ["afterprint", false],
  ]) {
    addEventListener(event, () => {
      printing = value;
      applyTheme();
    });
  }
  applyTheme();
}
