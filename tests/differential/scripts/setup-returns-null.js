export const options = { vus: 3, iterations: 6 };
export function setup() { return null; }
export default function () {}
