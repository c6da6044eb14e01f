// Everything into its place.

function showContents() {
  const sections = [...document.querySelectorAll("section[data-title]")];
  const links = new Map(sections.map((s) => [s, html("a", { href: `#${s.id}` }, s.dataset.title)]));
  byId("contents").append(...[...links.values()].map((link) => html("li", null, link)));
  const spy = new IntersectionObserver(
    (changes) => {
      for (const { target, isIntersecting } of changes) {
        if (!isIntersecting) continue;
        for (const [section, link] of links) link.setAttribute("aria-current", section === target);
      }
    },
    { rootMargin: "-20% 0px -75% 0px" },
  );
  for (const section of sections) spy.observe(section);
}

showContents();
showVerdict();
showSummary();
showCost();
showSizes();
showClasses();
showPrecision();
showTraining();
showErrors();
showGallery();
startEnlarged();
showMethod();
startTheme(); // the first drawing of the charts: they are in the page and know their width
