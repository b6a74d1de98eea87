// Asking the server for its status: once a second, never two requests at once, and less and less often while it is away.

const EVERY_MS = 1000;
const AWAY_MAX_MS = 15000;
const TIMEOUT_MS = 8000;

// get asks for a path, with the bearer token where there is one. It throws when there is no answer in time.
export function get(path, token) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = "Bearer " + token;
  return fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
}

// ask returns {status} or, where there is none, {problem, needsToken}.
async function ask(path, token) {
  try {
    const response = await get(path, token);
    if (response.status === 401) return { problem: "The server asks for a bearer token: give it in the form below.", needsToken: true };
    if (!response.ok) return { problem: `The server answers ${response.status} instead of its status.` };
    return { status: await response.json() };
  } catch (error) {
    return { problem: error.name === "SyntaxError" ? "The server’s status is not JSON." : "The server is away." };
  }
}

// poll runs for as long as the page is open. It calls seen with each status, and away with what is wrong and the number of
// seconds until the next try.
export async function poll(path, token, seen, away) {
  let failures = 0;
  for (;;) {
    const began = performance.now();
    const { status, problem, needsToken } = await ask(path, token());
    let wait = EVERY_MS - (performance.now() - began);
    if (problem === undefined) {
      failures = 0;
      seen(status);
    } else {
      wait = Math.min(AWAY_MAX_MS, EVERY_MS * 2 ** failures);
      failures = Math.min(failures + 1, 10);
      away(problem, wait / 1000, needsToken === true);
    }
    await new Promise((resolve) => setTimeout(resolve, Math.max(100, wait)));
  }
}
