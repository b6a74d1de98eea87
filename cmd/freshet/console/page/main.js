// The console of "freshet up": what /v1/status says, once a second.

import { by, put, rows, text } from "./dom.js";
import { count, moment, rate, score, seconds, span } from "./figures.js";
import { ARMS, REASONS, readStatus } from "./reading.js";
import { CLASSES, DRAWN, drawChart, drawSpark, reachOf, swatch } from "./chart.js";
import { History } from "./history.js";
import { poll } from "./poll.js";
import { askForToken, listen, token } from "./recommend.js";

const history = new History();
let lastSeen = null; // Date of the last status

const clock = () => performance.now() / 1000;

function seen(json) {
  const status = readStatus(json);
  history.add(clock(), status);
  lastSeen = new Date();
  document.body.classList.remove("stale");
  put("notice", "");
  showHead(status);
  showStream(status);
  showScores(status);
  showAccount(status);
  showTraining(status);
  showReplicas(status);
  draw();
}

function away(problem, wait, needsToken) {
  document.body.classList.add("stale");
  put("stage", "no answer");
  by("stage").className = "stage";
  put("uptime", "");
  if (needsToken) askForToken();
  const since = lastSeen === null ? "" : ` The figures are those of ${lastSeen.toLocaleTimeString()}.`;
  put("notice", `${problem}${since} Next try in ${Math.round(wait)} s.`);
}

function draw() {
  drawChart(by("chart"), history, clock());
  drawSpark(by("spark"), history, clock());
  const minutes = reachOf(history) / 60;
  put("spark-reach", minutes === 1 ? "the last minute" : `the last ${minutes} minutes`);
}

function showHead(status) {
  put("stage", status.stage);
  by("stage").className = "stage " + status.stage;
  put("uptime", "up for " + span(status.uptime));
  put("backend", status.backend);
  put("kafka", status.kafka || "–");
  put("nats", status.nats.replace(/^nats:\/\//, "") || "–");
  by("progress").hidden = status.total <= 0;
  by("done").value = status.total > 0 ? Math.min(1, status.done / status.total) : 0;
  put("done-text", `${count(status.done)} of ${count(status.total)} records`);
}

function showStream(status) {
  put("freshness-p50", seconds(status.freshness.p50));
  put("freshness-p99", seconds(status.freshness.p99));
  put("rate", rate(status.rate));
  put("open-sessions", count(status.openSessions));
  put("watermark", seconds(status.watermarkLag));
  put("kafka-lag", count(status.kafkaLag));
}

// prepare makes what is the same for every status: the legend, and a row of scores for each arm.
function prepare() {
  for (const arm of ARMS) {
    if (DRAWN.includes(arm.key)) {
      const entry = document.createElement("li");
      entry.append(swatch(arm), arm.name);
      entry.id = "legend-" + CLASSES[arm.key];
      by("legend").append(entry);
    }
    const row = by("scores").tBodies[0].insertRow();
    row.id = "scores-" + CLASSES[arm.key];
    const head = document.createElement("th");
    head.scope = "row";
    head.append(arm.name);
    row.append(head);
    for (let i = 0; i < 4; i++) row.insertCell();
  }
}

function showScores(status) {
  for (const arm of ARMS) {
    const row = by("scores-" + CLASSES[arm.key]);
    [status.recall, status.mrr, status.thirdRecall, status.thirdMRR].forEach((scores, i) => text(row.cells[i + 1], score(scores[arm.key])));
  }
  const best = status.recall.best !== null;
  for (const id of ["legend-best", "scores-best", "best-note"]) by(id).hidden = !best;
  put("scored", count(status.scored));
  put("rule", status.rule);
}

function showAccount(status) {
  const aside = status.aside.reduce((sum, [, n]) => sum + n, 0);
  const sum = status.trained + aside + status.pending;
  put("clicks", count(status.clicks));
  put("trained", count(status.trained));
  put("aside", count(aside));
  put("pending", count(status.pending));
  put("equals", sum === status.clicks ? "=" : "≠");
  by("account-note").className = sum === status.clicks ? "quiet" : "bad";
  put("account-note", sum === status.clicks
    ? "It adds up: clicks = trained + aside + pending. Nothing vanishes."
    : `It does not add up: trained + aside + pending are ${count(sum)}.`);
  const order = Object.keys(REASONS);
  const place = (reason) => (order.includes(reason) ? order.indexOf(reason) : order.length);
  const reasons = status.aside.filter(([, n]) => n > 0).sort(([a], [b]) => place(a) - place(b));
  by("reasons-frame").hidden = reasons.length === 0;
  rows(by("reasons").tBodies[0], 0, ["word", "", "word wrap"], reasons.map(([reason, n]) => [reason, count(n), REASONS[reason] ?? ""]));
}

// showTraining says what the trainer does about recency; what did not happen takes no line.
function showTraining(status) {
  const t = status.training;
  put("training-lag", seconds(t.lag));
  put("steps", count(status.steps));
  put("run-steps", count(t.runSteps));
  put("drifts", count(t.drifts));
  by("gives-way").className = t.level > 0 ? "warn" : "quiet";
  put("gives-way", (t.level > 0 ? "Training is behind: " : "Training keeps up: ") + (t.givesWay || "–") + (t.runs > 0 ? ` · ${count(t.runs)} runs came due` : ""));
  const shed = t.shed.filter((kind) => kind.n > 0).map((kind) => `${count(kind.n)} ${kind.what}`);
  by("shed").hidden = shed.length === 0;
  put("shed", "shed so far: " + shed.join(", "));
  by("last-drift").hidden = t.lastDrift === null;
  put("last-drift", "the loss last rose to stay at " + moment(t.lastDrift));
}

function showReplicas(status) {
  put("versions", count(status.versions));
  const body = by("replicas").tBodies[0];
  rows(body, 0, ["word wrap", "", "", "word wrap"], status.replicas.map((replica) => [
    replica.id,
    replica.version === 0 ? "–" : count(replica.version),
    seconds(replica.age),
    replica.problem || (replica.version === 0 ? "waits for its first version" : "none"),
  ]));
  status.replicas.forEach((replica, i) => (body.rows[i].className = replica.problem === "" ? "" : "troubled"));
}

prepare();
listen();
new ResizeObserver(draw).observe(by("chart"));
poll("v1/status", token, seen, away);
