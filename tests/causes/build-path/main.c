#include <stdio.h>

int main(void) { return puts("made of " __FILE__) == EOF; }
