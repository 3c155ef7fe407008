// arguments: --vus 3 --duration 2s
// counts within: 3
import { sleep } from 'k6';
export const options = {
  scenarios: { browse: { executor: 'per-vu-iterations', vus: 3, iterations: 5, exec: 'browse' } },
};
export function browse() {}
export default function () { sleep(0.5); }
