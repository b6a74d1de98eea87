// Figures as text, as the terminal view of "freshet up" writes them. A figure that has not been measured is a dash.

const NONE = "–";
const known = (x) => typeof x === "number" && Number.isFinite(x);

// count writes a whole number with a narrow space between thousands.
export function count(n) {
  return known(n) ? String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f") : NONE;
}

export function score(x) {
  return known(x) ? x.toFixed(3) : NONE;
}

export function rate(x) {
  if (!known(x)) return NONE;
  return Math.abs(x) < 100 ? x.toFixed(1) : count(x);
}

// seconds writes a duration given in seconds.
export function seconds(x) {
  if (!known(x)) return NONE;
  if (Math.abs(x) >= 59.95) return span(x);
  return Math.abs(x) < 0.9995 ? `${Math.round(1000 * x)} ms` : `${x.toFixed(1)} s`;
}

// span writes a duration given in seconds by its two largest units.
export function span(x) {
  if (!known(x)) return NONE;
  const s = Math.round(Math.abs(x));
  const two = (n) => String(n).padStart(2, "0");
  let text = `${s} s`;
  if (s >= 48 * 3600) text = `${Math.floor(s / 86400)} d ${two(Math.floor((s % 86400) / 3600))} h`;
  else if (s >= 3600) text = `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
  else if (s >= 60) text = `${Math.floor(s / 60)} min ${two(s % 60)} s`;
  return x < 0 && s > 0 ? "-" + text : text;
}

// moment writes milliseconds since 1970, to the second.
export function moment(ms) {
  if (!known(ms) || Math.abs(ms) > 8.64e15) return NONE;
  return new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
}
