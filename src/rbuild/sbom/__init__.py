"""What is in an image, as a software bill of materials: CycloneDX 1.6 and SPDX 2.3."""
