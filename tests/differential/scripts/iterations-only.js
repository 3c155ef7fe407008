// runners: Error ParallelismTooHigh
export const options = { iterations: 9 };
export default function () {}
