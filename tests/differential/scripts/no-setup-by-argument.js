// arguments: --no-setup --no-teardown
import { Counter } from 'k6/metrics';
const prepared = new Counter('prepared'), torn = new Counter('torn');
export const options = { vus: 3, iterations: 12 };
export function setup() { prepared.add(1); }
export default function () {}
export function teardown() { torn.add(1); }
