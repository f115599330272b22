/**
 * Memory that is there, and not only promised until it is touched. Into the latter the kernel cannot copy a request for a process that is being
 * killed: it then answers that request with EIO, instead of keeping it for the next process.
 */
export function presentMemory(sizeBytes: number): Buffer {
	// Not Buffer.alloc: what comes as zeros is promised only.
	return Buffer.allocUnsafeSlow(sizeBytes).fill(0);
}
