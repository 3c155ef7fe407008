import { Counter } from 'k6/metrics';
const nothing = new Counter('nothing');
export const options = { vus: 3, iterations: 12 };
export function setup() {}
export default function (data) { if (data === undefined || data === null) nothing.add(1); }
