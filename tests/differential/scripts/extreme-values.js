import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
const wide = new Trend('wide'), none = new Trend('none'), large = new Counter('large');
export const options = { vus: 3, iterations: 60 };
export default function () {
  const n = exec.scenario.iterationInTest;
  wide.add(10 ** (n % 10)); none.add(0); large.add(1e9);
}
