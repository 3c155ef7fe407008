// Makes the report of a long run with many runners: too large to be kept as a file, and always the same one.

// Numbers that look random and are the same each time (mulberry32).
export function random(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const round = (value, digits = 2) => +value.toFixed(digits);

// `odd` runners are slow, and serve fewer requests.
export function large({ runners = 150, seconds = 600, odd = [7, 64, 131], seed = 1 } = {}) {
  const next = random(seed);
  const near = (value, share) => value * (1 + (next() - 0.5) * share);
  const at = Array.from({ length: seconds + 1 }, (_, i) => i);
  const ramp = at.map(
    (second) => Math.min(1, second / (seconds * 0.15)) * Math.min(1, (seconds - second) / (seconds * 0.1) + 0.05),
  );
  const one = 50;
  const perRunner = Array.from({ length: runners }, (_, i) => {
    const slow = odd.includes(i + 1);
    const requestsOverTime = ramp.map((level) => round(near(one * level, 0.12) * (slow ? 0.6 : 1), 1));
    const p95OverTime = ramp.map((level) => round(near(60 + 30 * level, 0.2) * (slow ? 2.4 : 1), 1));
    return {
      runner: i + 1,
      state: "ended",
      exit: 0,
      requests: Math.round(requestsOverTime.reduce((a, b) => a + b, 0)),
      failedRate: round(near(0.004, 0.5), 4),
      p95: round(near(slow ? 205 : 86, 0.06)),
      requestsOverTime,
      p95OverTime,
    };
  });
  const total = perRunner.reduce((sum, runner) => sum + runner.requests, 0);
  const requests = at.map((_, i) =>
    round(
      perRunner.reduce((sum, runner) => sum + runner.requestsOverTime[i], 0),
      1,
    ),
  );
  const p50 = ramp.map((level) => round(near(24 + 12 * level, 0.1), 1));
  return {
    name: "load/soak",
    kind: "K6",
    live: false,
    result: "Passed",
    reason: "ThresholdsMet",
    message: `All ${runners} runners ended and all thresholds were met.`,
    started: "2026-11-25T06:00:00Z",
    durationMs: seconds * 1000,
    runners,
    startSpreadMs: 41.7,
    k6Version: "1.1.0",
    totals: {
      requests: total,
      requestRate: round(total / seconds),
      failedRate: 0.004,
      p95: 88.1,
      iterations: total,
      iterationRate: round(total / seconds),
      vus: 0,
      vusMax: runners * 50,
      dataReceived: total * 812,
      dataSent: total * 131,
      checksPassed: total,
      checksTotal: total,
    },
    complete: true,
    incomplete: [],
    time: {
      at,
      vus: ramp.map((level) => Math.round(level * runners * 50)),
      requests,
      failed: ramp.map(() => round(near(0.004, 1), 5)),
      iterations: requests,
      p50,
      p90: p50.map((value) => round(value * 1.9, 1)),
      p95: p50.map((value) => round(value * 2.4, 1)),
      p99: p50.map((value) => round(near(value * 4, 0.4), 1)),
    },
    perRunner,
    thresholds: [
      {
        metric: "http_req_duration",
        expression: "p(95)<500",
        passed: true,
        value: 88.1,
        low: 86.4,
        high: 89.9,
        uncertain: false,
        aborted: false,
        limit: 500,
        unit: "ms",
      },
    ],
    checks: [],
    groups: [],
    scenarios: [],
    requests: Array.from({ length: 120 }, (_, i) => ({
      name: `http://shop.test/item/${i + 1}`,
      method: i % 5 ? "GET" : "POST",
      result: "200",
      expected: true,
      count: Math.round(total / (i + 4)),
      avg: round(near(30, 0.6)),
      p95: round(near(85, 0.6)),
      max: round(near(600, 0.9)),
    })),
    metrics: [],
    history: [],
  };
}
