import exec from 'k6/execution';
export const options = { vus: 3, iterations: 12 };
if (!__ENV.TARGET_HOST) { exec.test.abort('TARGET_HOST is not set'); }
export default function () {}
