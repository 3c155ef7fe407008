import exec from 'k6/execution';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const spent = new Counter('spent'), good = new Rate('good'), own = new Trend('own'), took = new Trend('took', true);
export const options = {
  vus: 3, iterations: 60, summaryTrendStats: ['count', 'min', 'p(1)', 'p(99.9)', 'avg', 'p(50)'], summaryTimeUnit: 's',
};
export default function () {
  const n = exec.scenario.iterationInTest;
  spent.add(0.25 * (n % 4)); good.add(n % 3 === 0); own.add((n * 37) % 101 + 1); took.add(1.5 ** (n % 20));
}
