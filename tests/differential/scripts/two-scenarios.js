import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
import http from 'k6/http';
export const options = {
  scenarios: {
    first: { executor: 'shared-iterations', vus: 3, iterations: 12, exec: 'browse', env: { MS: '5' }, tags: { part: 'a' } },
    second: { executor: 'per-vu-iterations', vus: 3, iterations: 4, exec: 'buy', startTime: '1s', tags: { part: 'b' } },
  },
  thresholds: { 'http_reqs{part:a}': ['count==12'], 'http_reqs{scenario:second}': ['count==24'], 'own{part:b}': ['avg==2'] },
};
export function browse() { http.get(`${__ENV.SITE}/${__ENV.MS}/200`); own.add(1); }
export function buy() { http.get(`${__ENV.SITE}/3/200`); http.get(`${__ENV.SITE}/3/201`); own.add(2); }
