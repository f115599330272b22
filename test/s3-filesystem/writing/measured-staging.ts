import { Staging } from "../../../src/s3-filesystem/writing/staging.ts";

/** Knows the most that was ever staged. */
export class MeasuredStaging extends Staging {
	peakBytes = 0;

	override reserveBeyondLimit(bytes: number): void {
		super.reserveBeyondLimit(bytes);
		this.peakBytes = Math.max(this.peakBytes, this.usedBytes);
	}
}
