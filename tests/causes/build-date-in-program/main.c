#include <stdio.h>

int main(void) { return puts("built " __DATE__ " " __TIME__) == EOF; }
