// The one place that knows the names of the server's JSON. Every field is written out as status.…, replica.…, answer.…,
// item.… or refusal.…, so that a test can compare them with what the server sends. Everything else reads what is made here.

// ARMS are what is scored side by side, in the order in which they are shown.
export const ARMS = [
  { key: "model", name: "model" },
  { key: "blend", name: "blend" },
  { key: "vsknn", name: "V-SKNN" },
  { key: "stan", name: "STAN" },
  { key: "vstan", name: "VSTAN" },
  { key: "itemToItem", name: "item-to-item" },
  { key: "popularity", name: "popularity" },
  { key: "best", name: "best reachable" },
];

// REASONS says why a record is put aside, in the order in which the reasons are shown.
export const REASONS = {
  late: "its event time is before the watermark",
  undecodable: "it is not a record of the configured format",
  invalid: "it decodes, but breaks a rule of a click",
  oversize: "it is larger than a record may be",
  duplicate: "the session has this click already",
  overflow: "the user has more unsealed clicks than a session may hold",
};

// readStatus turns the answer of /v1/status into what the page shows. What was not measured is null.
export function readStatus(status) {
  return {
    stage: status.stage,
    uptime: status.uptime_seconds,
    backend: status.backend,
    kafka: status.kafka ?? "",
    nats: status.nats ?? "",
    freshness: { p50: status.freshness_seconds.p50, p99: status.freshness_seconds.p99 },
    rate: status.clicks_per_second,
    openSessions: status.open_sessions,
    watermarkLag: status.watermark_lag_seconds,
    kafkaLag: status.kafka_lag,
    clicks: status.clicks,
    trained: status.trained,
    pending: status.pending,
    aside: Object.entries(status.aside),
    scored: status.scored,
    rule: status.rule,
    recall: {
      model: status.recall_at_20.model,
      blend: status.recall_at_20.blend,
      vsknn: status.recall_at_20.v_sknn,
      stan: status.recall_at_20.stan,
      vstan: status.recall_at_20.vstan,
      itemToItem: status.recall_at_20.item_to_item,
      popularity: status.recall_at_20.popularity,
      best: status.recall_at_20.best ?? null,
    },
    mrr: {
      model: status.mrr_at_20.model,
      blend: status.mrr_at_20.blend,
      vsknn: status.mrr_at_20.v_sknn,
      stan: status.mrr_at_20.stan,
      vstan: status.mrr_at_20.vstan,
      itemToItem: status.mrr_at_20.item_to_item,
      popularity: status.mrr_at_20.popularity,
      best: status.mrr_at_20.best ?? null,
    },
    thirdRecall: {
      model: status.last_third.recall_at_20.model,
      blend: status.last_third.recall_at_20.blend,
      vsknn: status.last_third.recall_at_20.v_sknn,
      stan: status.last_third.recall_at_20.stan,
      vstan: status.last_third.recall_at_20.vstan,
      itemToItem: status.last_third.recall_at_20.item_to_item,
      popularity: status.last_third.recall_at_20.popularity,
      best: status.last_third.recall_at_20.best ?? null,
    },
    thirdMRR: {
      model: status.last_third.mrr_at_20.model,
      blend: status.last_third.mrr_at_20.blend,
      vsknn: status.last_third.mrr_at_20.v_sknn,
      stan: status.last_third.mrr_at_20.stan,
      vstan: status.last_third.mrr_at_20.vstan,
      itemToItem: status.last_third.mrr_at_20.item_to_item,
      popularity: status.last_third.mrr_at_20.popularity,
      best: status.last_third.mrr_at_20.best ?? null,
    },
    steps: status.steps,
    training: {
      level: status.training.level,
      givesWay: status.training.gives_way,
      lag: status.training.lag_seconds,
      runs: status.training.runs,
      runSteps: status.training.run_steps,
      shed: [
        { what: "runs", n: status.training.shed.pit_runs },
        { what: "parts of histories at most", n: status.training.shed.history_parts },
        { what: "parts", n: status.training.shed.parts },
      ],
      drifts: status.training.drift.detections,
      lastDrift: status.training.drift.last ?? null,
    },
    versions: status.versions,
    done: status.progress_done,
    total: status.progress_total,
    replicas: status.replicas.map((replica) => ({
      id: replica.id,
      version: replica.version,
      age: replica.age_seconds,
      problem: replica.problem ?? "",
    })),
  };
}

// readAnswer turns the answer of /v1/recommend into what the page shows.
export function readAnswer(answer) {
  return {
    user: answer.user_id,
    model: answer.model.name,
    version: answer.model.version,
    trainedThrough: answer.model.trained_through,
    age: answer.model.age_ms / 1000,
    items: answer.items.map((item) => ({ id: item.item_id, score: item.score, source: item.source })),
  };
}

// readRefusal returns what the server says is wrong.
export function readRefusal(refusal) {
  return refusal.error.message;
}
