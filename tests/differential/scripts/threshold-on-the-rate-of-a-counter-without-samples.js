import { Counter } from 'k6/metrics';
const orders = new Counter('orders');
export const options = { vus: 3, iterations: 6, thresholds: { orders: ['rate>0.5'] } };
export default function () { if (__ENV.SPEAK) orders.add(1); }
