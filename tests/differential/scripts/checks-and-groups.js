import { check, group } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
export const options = { vus: 3, iterations: 30, thresholds: { checks: ['rate>0.5'], 'checks{kind:odd}': ['rate<0.5'] } };
export default function () {
  const odd = exec.scenario.iterationInTest % 2 === 1;
  group('shop', () => {
    group('bag', () => check(http.get(`${__ENV.SITE}/2/200`), { 'is good': (r) => r.status === 200, 'is bad': (r) => r.status !== 200 }));
    check(1, { 'is good': () => true });
  });
  group('shop', () => check(1, { again: () => !odd }));
  check(odd, { 'is even': (o) => !o }, { kind: odd ? 'odd' : 'even' });
}
