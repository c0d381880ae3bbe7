"""Makes session1.npy: four seconds of a simulated 32-channel local field potential at 1 kHz, in microvolts.

A linear probe through a layered structure: a few rhythms, each with its own depth profile and its own slow waxing and
waning, over noise whose power falls with frequency, as it does in tissue. So a few components carry most of the
variance, and the rest is a tail.

    python3 generate.py            # always the same bytes
"""

from pathlib import Path

import numpy as np

RATE = 1000  # Hz
SAMPLES = 4000
CHANNELS = 32
SEED = 20201210

# frequency (Hz), amplitude (uV), depth of its centre (channel), extent (channels)
RHYTHMS = [
    (2.0, 180, 20, 12),  # delta
    (7.5, 140, 12, 6),  # theta
    (10.5, 90, 26, 5),  # alpha
    (22.0, 45, 6, 4),  # beta
    (42.0, 30, 16, 3),  # slow gamma
    (78.0, 18, 10, 2),  # fast gamma
]


def main():
    rng = np.random.default_rng(SEED)
    time = np.arange(SAMPLES) / RATE
    depth = np.arange(CHANNELS)

    recording = 40 * pink_noise(rng, CHANNELS) + 25 * pink_noise(rng, 1)  # each electrode's own, and the reference's
    for frequency, amplitude, centre, extent in RHYTHMS:
        drift = np.cumsum(rng.normal(0, 0.02, SAMPLES))  # no rhythm keeps its phase
        waxing = 1 + 0.6 * smooth(rng.normal(size=SAMPLES), RATE // 2)
        wave = amplitude * waxing * np.sin(2 * np.pi * frequency * time + drift)
        # A current sink has its return below it: the sign of the potential flips along the probe.
        z = (depth - centre) / extent
        profile = (1 - 0.5 * z**2) * np.exp(-0.5 * z**2)
        recording += np.outer(wave, profile)

    gain = rng.normal(1, 0.08, CHANNELS)  # electrodes differ in impedance
    np.save(Path(__file__).with_name("session1.npy"), (recording * gain).astype(np.float32))


def pink_noise(rng, channels):
    """SAMPLES x channels of unit variance whose power falls as 1/f."""
    spectrum = rng.normal(size=(SAMPLES // 2 + 1, channels)) + 1j * rng.normal(size=(SAMPLES // 2 + 1, channels))
    frequency = np.fft.rfftfreq(SAMPLES)
    spectrum[1:] /= np.sqrt(frequency[1:, np.newaxis])
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, n=SAMPLES, axis=0)
    return noise / noise.std(axis=0)


def smooth(signal, width):
    """A moving average of unit variance."""
    smoothed = np.convolve(signal, np.ones(width) / width, mode="same")
    return smoothed / smoothed.std()


if __name__ == "__main__":
    main()
