// known: silent/contains: of a metric without samples its type is not known: docs/results.md
import { Rate, Trend } from 'k6/metrics';
const silent = new Trend('silent', true), never = new Rate('never');
export const options = { vus: 3, iterations: 6, thresholds: { silent: ['p(95)<10'], never: ['rate<0.1'] } };
export default function () { if (__ENV.SPEAK) { silent.add(1); never.add(1); } }
