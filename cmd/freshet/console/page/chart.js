// The chart of recall@20 over time, and the sparkline of clicks per second. Both are drawn anew from the history.

import { svg } from "./dom.js";
import { ARMS } from "./reading.js";
import { KEPT_SECONDS } from "./history.js";
import { rate, score } from "./figures.js";

// CLASSES are the names of the arms in the style sheet.
export const CLASSES = {
  model: "model", blend: "blend", vsknn: "v-sknn", stan: "stan", vstan: "vstan", itemToItem: "item-to-item", popularity: "popularity", best: "best",
};

// DRAWN are the arms of the chart: more lines than these cannot be told apart.
export const DRAWN = ["model", "vsknn", "stan", "popularity", "best"];

const MARGIN = { top: 12, bottom: 42, left: 54 };
const RIGHT = 62, RIGHT_NAMED = 152; // the right margin, without and with the names of the arms
const NAMED_FROM = 520; // the width from which there is room for the names
const LINE_HEIGHT = 15; // least distance of two values at the right end

const path = (points, x, y) => points.map((p, i) => `${i === 0 ? "M" : "L"}${x(p.at).toFixed(1)} ${y(p.value).toFixed(1)}`).join("");

// reachOf is how far back both drawings go, in seconds: whole minutes.
export function reachOf(history) {
  return [60, 120, 180, 240, KEPT_SECONDS].find((s) => s >= history.reach) ?? KEPT_SECONDS;
}

// swatch shows how the line of an arm looks.
export function swatch(arm) {
  return svg("svg", { class: "swatch", viewBox: "0 0 28 10", "aria-hidden": "true" },
    svg("line", { class: "line " + CLASSES[arm.key], x1: 1, y1: 5, x2: 27, y2: 5 }));
}

// drawChart shows the recall of every arm up to now (seconds).
export function drawChart(frame, history, now) {
  const width = frame.clientWidth, height = frame.clientHeight;
  const named = width >= NAMED_FROM;
  const right = width - (named ? RIGHT_NAMED : RIGHT), bottom = height - MARGIN.bottom;
  const reach = reachOf(history);
  const arms = ARMS.filter((arm) => DRAWN.includes(arm.key)).map((arm) => ({ ...arm, lines: history.lines((sample) => sample.recall[arm.key]) })).filter((arm) => arm.lines.length > 0);
  const top = ceiling(Math.max(0, ...arms.flatMap((arm) => arm.lines.flat().map((p) => p.value))));
  const x = (at) => Math.max(MARGIN.left, right - ((now - at) / reach) * (right - MARGIN.left));
  const y = (value) => bottom - (value / top) * (bottom - MARGIN.top);

  const picture = svg("svg", { role: "img", viewBox: `0 0 ${width} ${height}`, "aria-label": spoken(arms) });
  axes(picture, { x, y, top, reach, now, right, bottom });
  if (arms.length === 0) {
    picture.append(svg("text", { x: (MARGIN.left + right) / 2, y: (MARGIN.top + bottom) / 2, "text-anchor": "middle" }, "nothing has been scored yet"));
  }
  const ends = [];
  for (const arm of [...arms].reverse()) { // the model last, above the others
    for (const line of arm.lines) picture.append(svg("path", { class: "line " + CLASSES[arm.key], d: path(line, x, y) }));
    const end = arm.lines.at(-1).at(-1);
    picture.append(svg("circle", { class: "dot " + CLASSES[arm.key], cx: x(end.at), cy: y(end.value), r: 3.5 }));
    ends.push({ arm, value: end.value, from: y(end.value), y: y(end.value) });
  }
  spread(ends, MARGIN.top, bottom);
  for (const end of ends) {
    picture.append(svg("path", { class: "leader " + CLASSES[end.arm.key], d: `M${right} ${end.from}L${right + 10} ${end.y}h5` }));
    const value = svg("text", { class: "value", x: right + 19, y: end.y + 4 }, score(end.value));
    if (named) value.append(svg("tspan", { class: "name", dx: 6 }, end.arm.name));
    picture.append(value);
  }
  frame.replaceChildren(picture);
}

function axes(picture, { x, y, top, reach, now, right, bottom }) {
  const step = top > 0.5 ? 0.2 : top > 0.2 ? 0.1 : 0.05;
  for (let value = 0; value <= top + 1e-9; value += step) {
    picture.append(svg("line", { class: value === 0 ? "axis" : "grid", x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }));
    picture.append(svg("text", { x: MARGIN.left - 7, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(step < 0.1 ? 2 : 1)));
  }
  const every = reach <= 60 ? 15 : reach <= 120 ? 30 : 60;
  for (let ago = 0; ago <= reach; ago += every) {
    const label = ago === 0 ? "now" : reach <= 120 ? `−${ago} s` : `−${ago / 60} min`;
    picture.append(svg("line", { class: "axis", x1: x(now - ago), x2: x(now - ago), y1: bottom, y2: bottom + 4 }));
    picture.append(svg("text", { x: x(now - ago), y: bottom + 18, "text-anchor": "middle" }, label));
  }
  picture.append(svg("text", { x: (MARGIN.left + right) / 2, y: bottom + 36, "text-anchor": "middle" }, "time"));
  const middle = (MARGIN.top + bottom) / 2;
  picture.append(svg("text", { x: 11, y: middle, "text-anchor": "middle", transform: `rotate(-90 11 ${middle})` }, "recall@20"));
}

// ceiling returns the upper end of an axis from 0 that holds value.
function ceiling(value) {
  const step = value > 0.5 ? 0.2 : value > 0.2 ? 0.1 : 0.05;
  return Math.min(1, Math.max(0.1, Math.ceil(value / step - 1e-9) * step));
}

// spread moves labels that would lie over one another apart, within top and bottom.
function spread(labels, top, bottom) {
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, i) => (label.y = Math.max(label.y, i === 0 ? top : labels[i - 1].y + LINE_HEIGHT)));
  labels.reverse().forEach((label, i) => (label.y = Math.min(label.y, i === 0 ? bottom : labels[i - 1].y - LINE_HEIGHT)));
}

function spoken(arms) {
  if (arms.length === 0) return "recall@20 over time: nothing has been scored yet";
  return "recall@20 over time; now " + arms.map((arm) => `${arm.name} ${score(arm.lines.at(-1).at(-1).value)}`).join(", ");
}

// drawSpark shows the clicks per second up to now (seconds), from 0 to the greatest.
export function drawSpark(frame, history, now) {
  const width = frame.clientWidth, height = frame.clientHeight;
  const lines = history.lines((sample) => sample.rate);
  const values = lines.flat().map((p) => p.value);
  const most = Math.max(1, ...values);
  const reach = reachOf(history);
  const x = (at) => 2 + (width - 6) * (1 - Math.min(1, (now - at) / reach));
  const y = (value) => height - 2 - (height - 6) * (value / most);
  const label = values.length === 0 ? "clicks per second over time: not measured yet"
    : `clicks per second over time: from ${rate(Math.min(...values))} to ${rate(most)}`;
  const picture = svg("svg", { role: "img", viewBox: `0 0 ${width} ${height}`, "aria-label": label });
  picture.append(svg("line", { class: "grid", x1: 0, x2: width, y1: height - 1, y2: height - 1 }));
  for (const line of lines) {
    const d = path(line, x, y);
    picture.append(svg("path", { class: "area", d: `${d}L${x(line.at(-1).at).toFixed(1)} ${height - 1}L${x(line[0].at).toFixed(1)} ${height - 1}Z` }));
    picture.append(svg("path", { class: "line model", d }));
  }
  frame.replaceChildren(picture);
}
