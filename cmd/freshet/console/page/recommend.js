// The form that asks a replica what to recommend.

import { by, put, rows } from "./dom.js";
import { moment, score, seconds } from "./figures.js";
import { get } from "./poll.js";
import { readAnswer, readRefusal } from "./reading.js";

// token is the bearer token as it stands in the form. It is kept nowhere else.
export const token = () => by("token").value.trim();

// askForToken shows the field for the token.
export function askForToken() {
  by("token-field").hidden = false;
}

async function submit(event) {
  event.preventDefault();
  const button = event.target.querySelector("button");
  if (button.disabled) return;
  button.disabled = true;
  try {
    await recommend(by("user").value, by("k").value);
  } finally {
    button.disabled = false;
  }
}

async function recommend(user, k) {
  let response, body;
  try {
    response = await get("v1/recommend?" + new URLSearchParams({ user_id: user, k }), token());
    body = await response.json();
  } catch {
    return refuse(response === undefined ? "The server is away: it gave no answer." : `The server answers ${response.status} without JSON.`);
  }
  const replica = response.headers.get("X-Freshet-Replica") ?? "a replica without a name";
  if (response.status === 401) {
    askForToken();
    by("token").focus();
    return refuse(token() === "" ? "The server asks for a bearer token: give it and try again." : "The server does not take this bearer token.");
  }
  if (!response.ok) return refuse(`${replica}: ${readRefusal(body)}`);
  show(readAnswer(body), replica);
}

function refuse(why) {
  by("answer-frame").hidden = true;
  by("answer-note").className = "bad";
  put("answer-note", why);
}

function show(answer, replica) {
  const unknown = answer.items.length > 0 && answer.items.every((item) => item.source === "baseline");
  by("answer-note").className = "quiet";
  put("answer-note",
    `For ${answer.user}: ${replica} answered from version ${answer.version} of model ${answer.model}, ${seconds(answer.age)} old, ` +
    `trained through ${moment(answer.trainedThrough)}.` +
    (answer.items.length === 0 ? " There are no items." : "") +
    (unknown ? " The version knows nothing of this user: these are popular items." : ""));
  rows(by("answer").tBodies[0], 1, ["", "word wrap", "", "word"],
    answer.items.map((item, i) => [String(i + 1), item.id, score(item.score), item.source]));
  by("answer-frame").hidden = answer.items.length === 0;
}

export function listen() {
  by("recommend").addEventListener("submit", submit);
}
