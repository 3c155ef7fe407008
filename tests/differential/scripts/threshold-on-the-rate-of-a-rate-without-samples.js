import { Rate } from 'k6/metrics';
const paid = new Rate('paid');
export const options = { vus: 3, iterations: 6, thresholds: { 'paid{way:card}': ['rate>0.5'] } };
export default function () { if (__ENV.SPEAK) paid.add(1); }
