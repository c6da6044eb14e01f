// Numbers as text. null and undefined, and what COCO calls -1, are "–".

const NONE = "–";
const absent = (value) => value === null || value === undefined;

// A metric of 0..1, or null where there was nothing to measure.
const metric = (value) => (absent(value) || value < 0 ? null : value);

const fixed = (value, digits = 3) => (absent(value) ? NONE : value.toFixed(digits));
const grouped = (value) => (absent(value) ? NONE : Math.round(value).toLocaleString("en-GB"));
const millions = (value) => (absent(value) ? NONE : `${(value / 1e6).toFixed(2)} M`);
const signed = (value) => (absent(value) ? NONE : (value <= -0.0005 ? "−" : "+") + Math.abs(value).toFixed(3));

// A difference can be told only where it has an interval.
const measured = (difference) =>
  absent(difference) || absent(difference.low) || absent(difference.high) || absent(difference.mean)
    ? null
    : difference;

function withInterval(difference) {
  const d = measured(difference);
  return d ? `${signed(d.mean)} [${signed(d.low)}, ${signed(d.high)}]` : NONE;
}

const excludesZero = (d) => d.low > 0 || d.high < 0;

function withSpread(summary) {
  if (absent(summary) || metric(summary.mean) === null) return NONE;
  return fixed(summary.mean) + (absent(summary.spread) ? "" : ` ± ${fixed(summary.spread)}`);
}

function duration(seconds) {
  if (absent(seconds)) return NONE;
  if (seconds < 60) return `${seconds.toFixed(0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

const counted = (n, one, many = `${one}s`) => `${grouped(n)} ${n === 1 ? one : many}`;
