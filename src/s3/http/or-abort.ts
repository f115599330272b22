/** What the work comes to, unless the signal aborts first: not everything can be interrupted, such as a name lookup. */
export async function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
	const aborted = Promise.withResolvers<never>();
	const abort = () => aborted.reject(signal.reason);
	signal.addEventListener("abort", abort);
	// Not thrown at once: somebody has to hear how the work fails.
	if (signal.aborted) abort();
	try {
		return await Promise.race([work, aborted.promise]);
	} finally {
		signal.removeEventListener("abort", abort);
	}
}
