// environment: PROFILE=peak
import http from 'k6/http';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
const bought = new Counter('bought');
const profiles = { smoke: { vus: 1, iterations: 1 }, peak: { vus: 6, iterations: 31 } };
const profile = profiles[__ENV.PROFILE || 'smoke'];
export const options = {
  scenarios: {
    browse: { executor: 'shared-iterations', ...profile, exec: 'browse', gracefulStop: '2s' },
    buy: { executor: 'per-vu-iterations', vus: 4, iterations: 5, exec: 'buy', startTime: '500ms', env: { ITEM: '7' } },
    look: { executor: 'per-vu-iterations', vus: 3, iterations: 2, exec: 'look', startTime: '1s', tags: { kind: 'late' } },
  },
  thresholds: {
    'iterations{scenario:browse}': ['count==31'], 'iterations{scenario:buy}': ['count==20'], bought: ['count==140'],
    'iterations{kind:late}': ['count==6'],
    'http_reqs{scenario:browse}': ['count==31'],
  },
};
export function browse() { http.get(`${__ENV.SITE}/3/200`); }
export function buy() { bought.add(Number(__ENV.ITEM)); }
export function look() { if (exec.scenario.name !== 'look') throw new Error(exec.scenario.name); }
