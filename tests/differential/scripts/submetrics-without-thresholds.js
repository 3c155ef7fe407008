import http from 'k6/http';
import { Trend } from 'k6/metrics';
const basket = new Trend('basket'), silent = new Trend('silent', true);
export const options = {
  scenarios: { all: { executor: 'per-vu-iterations', vus: 3, iterations: 4 } },
  thresholds: {
    'http_req_duration{page:cart}': [], 'http_reqs{page:cart}': [], 'http_reqs{page:none}': [], 'basket{size:large}': [],
    silent: [], checks: [],
  },
};
export default function () {
  const page = __ITER % 2 ? 'cart' : 'shop';
  http.get(__ENV.SITE, { tags: { page } });
  basket.add(__ITER, { size: page === 'cart' ? 'large' : 'small' });
  if (__ENV.SPEAK) silent.add(1);
}
