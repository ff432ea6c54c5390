/* empty: writes an empty /out/result and is done. What remains of a run's time is the system's own. */
#include <fcntl.h>
#include <unistd.h>

int main(void) {
    int file = open("/out/result", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    return file < 0 || close(file) != 0;
}
